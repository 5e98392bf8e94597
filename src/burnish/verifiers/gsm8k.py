"""Grade-school word problems in GSM8K's convention: the reference ends in `#### 18`.

A completion may state its number as `Answer: 18`, `#### 18`, `\\boxed{18}` or "the answer is 18",
with units, currency, thousands separators, and working before an equals sign. Every such statement
must give the same one number. The names of units are not compared, unless the question names others
of the same kind and not this one (`burnish.verifiers.units`); what percent means stands in
`burnish.verifiers.quantities`.
"""

import re

from burnish.errors import DataError
from burnish.types import Problem, Verdict
from burnish.verifiers import units
from burnish.verifiers.quantities import Quantity, quantity, same
from burnish.verifiers.statements import find_statements

JUDGE = "gsm8k"
_PERCENT = re.compile(r"%|per\s?cent", re.IGNORECASE)


def verify_gsm8k_problem(problem: Problem, completion: str) -> Verdict:
    """The problem's reference number; without one it cannot be scored.

    Raises:
        DataError: the reference is not a number.
    """
    if not problem.answer.strip():
        return Verdict(score=None, why="the problem has no reference answer", judge=JUDGE)
    return verify_gsm8k(completion, problem.answer, problem.prompt.text)


def verify_gsm8k(completion: str, reference: str, prompt: str = "") -> Verdict:
    """Passed when all numbers stated as the answer are the reference's; score 1 or 0.

    reference: the number, or GSM8K's whole answer text. prompt: what it says itself is no answer.

    Raises:
        DataError: the reference is not a number.
    """
    expected = gsm8k_reference(reference)
    asked_percent = _PERCENT.search(prompt) is not None
    given: list[tuple[str, Quantity | None]] = []
    for statement in find_statements(completion, ("mark", "hashes", "boxed", "phrase"), prompt):
        found = quantity(statement.value)
        if statement.form != "phrase" or found is not None:
            given.append((statement.value, found))
    if not given:
        return _failed("no answer is stated: no `Answer:`, `####`, \\boxed or `the answer is`")
    for text, found in given:
        if found is None:
            return _failed(f"{_short(text)} is not one number")
        if not same(found, expected, asked_percent=asked_percent):
            return _failed(f"answered {_short(text)}, expected {expected.value}")
        if not units.fits(text, prompt):
            return _failed(f"{_short(text)} is in a unit that the question does not name")
    return Verdict(score=1.0, passed=True, judge=JUDGE)


def gsm8k_reference(reference: str) -> Quantity:
    """The number of a reference: after the last `####` where there is one.

    Raises:
        DataError: it is not a number.
    """
    found = quantity(reference.rpartition("####")[2])
    if found is None:
        raise DataError(
            f"gsm8k: the reference {_short(reference)} is not a number; give one, or text that "
            "ends in `#### 18`"
        )
    return found


def _failed(why: str) -> Verdict:
    return Verdict(score=0.0, passed=False, why=why, judge=JUDGE)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
