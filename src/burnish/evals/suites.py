"""The table of suites that `burnish eval --suite` knows."""

from collections.abc import Mapping

from burnish.config import suggest
from burnish.errors import ConfigError
from burnish.evals.gsm8k import GSM8K
from burnish.evals.humaneval import HUMANEVAL
from burnish.evals.ifeval import IFEVAL
from burnish.evals.suite import Suite

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (GSM8K, HUMANEVAL, IFEVAL)}


def find_suite(name: str) -> Suite:
    """The suite of that name. Raises: ConfigError."""
    if name not in SUITES:
        raise ConfigError(f"no suite {name}; {suggest(name, SUITES)}")
    return SUITES[name]
