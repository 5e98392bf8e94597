"""Whether two LaTeX expressions are equal, asked of a process that can be killed.

math-verify (https://github.com/huggingface/Math-Verify) parses and simplifies; on a model's output
that may take for ever or fill the memory, and its own timeouts work in the main thread only. So it
runs in `burnish.verifiers.math_worker`.
"""

import json
import math
import re
from functools import lru_cache

from burnish.verifiers.answering_process import AnsweringProcess, NoAnswer

TIMEOUT_S = 5.0
MAX_CHARS = 2000
MAX_NESTING = 40
"""Braces, brackets and parentheses in each other; deeper, the parser's own stack is in danger."""
_TOWER = re.compile(r"\d\s*\^[\s{(]*(\d+)\s*\^[\s{(]*(\d+)")
_LARGE = re.compile(r"\^[\s{(]*\d{6,}|\d{6,}\s*!")
LARGEST_POWER = 10_000
_PROCESS = AnsweringProcess(
    "math_worker.py",
    "math-verify could not be started, which the task math needs; run: pip install math-verify",
)


@lru_cache(maxsize=20_000)
def equivalent(reference: str, answer: str, timeout_s: float = TIMEOUT_S) -> tuple[bool, str]:
    """Whether an answer equals the reference, both in LaTeX, and why not where it was not tried.

    Late, too large and too deep count as unequal. Not symmetric: `x = 5` is read as 5 where the
    reference is 5.

    Raises:
        ConfigError: math-verify cannot be started.
    """
    for text in (reference, answer):
        if len(text) > MAX_CHARS:
            return False, f"{len(text)} characters are too many to compare"
        if nesting(text) > MAX_NESTING:
            return False, "nested too deep to compare"
        if _too_large(text):
            return False, "a number too large to compare"
    try:
        return _PROCESS.ask(json.dumps([reference, answer]), timeout_s) == "1", ""
    except NoAnswer as error:
        return False, str(error)


def _too_large(text: str) -> bool:
    """Powers of powers of numbers, and the like: they take all the time there is."""
    towers = ((int(m[1][:9]), int(m[2][:9])) for m in _TOWER.finditer(text))
    return bool(_LARGE.search(text)) or any(
        top * math.log(max(base, 1)) > math.log(LARGEST_POWER) for base, top in towers
    )


def nesting(text: str) -> int:
    """How many brackets of any kind stand in each other."""
    deepest = depth = 0
    for char in text:
        if char in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "})]":
            depth -= 1
    return deepest
