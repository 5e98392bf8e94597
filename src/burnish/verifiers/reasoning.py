"""reasoning-gym's own scorers, for tasks that have more than one right answer.

The problem's `meta` holds what a scorer reads: the data set's name, its options and the entry. Its
score may be a part of 1 for an answer that is near, or in another form: passed means exactly 1.

Some scorers evaluate the answer as Python (`countdown`, integrals, boards). So they run in a
process of their own (`reasoning_worker`) that can be killed, and see only answers that are plain
data or formulas (`harmless`).
"""

import json
from typing import Any

from burnish.errors import DataError
from burnish.types import Problem, Verdict
from burnish.verifiers.answering_process import AnsweringProcess, NoAnswer
from burnish.verifiers.exact import given_answer, is_block

TIMEOUT_S = 5.0
MAX_CHARS = 10_000
_PROCESS = AnsweringProcess(
    "reasoning_worker.py",
    "reasoning-gym could not be started, which the task reasoning needs; "
    "run: pip install reasoning-gym",
)


def verify_reasoning_problem(problem: Problem, completion: str) -> Verdict:
    """The scorer's score of what follows `Answer:`; 0 without one, or with several that differ.

    Raises:
        DataError: `meta` names no data set of reasoning-gym, or holds no entry of it.
    """
    name, options, entry = _source(problem)
    # Without an answer of its own a task has many, some of several lines.
    block = is_block(problem.answer) or not problem.answer.strip()
    answer = given_answer(completion, problem.prompt.text, block=block)
    if not answer:
        return _failed("no `Answer:`, or several")
    if len(answer) > MAX_CHARS:
        return _failed(f"an answer of {len(answer)} characters")
    try:
        reply = json.loads(_PROCESS.ask(json.dumps([name, options, answer, entry]), TIMEOUT_S))
    except NoAnswer as error:
        return _failed(str(error))
    match reply:
        case {"score": score}:
            passed = score == 1.0
            why = "" if passed else f"answered {answer[:40]!r}, which scores {score:g}"
            return Verdict(score=score, passed=passed, why=why, judge="reasoning")
        case {"unknown": why}:
            raise DataError(f"`meta`: {name} with {options} is not in reasoning-gym: {why}")
        case {"failed": why}:
            return _failed(f"the scorer of {name} failed ({why})")
    return _failed(f"answered {answer[:40]!r}: no plain value or formula, and {name} would run it")


def _failed(why: str) -> Verdict:
    return Verdict(score=0.0, passed=False, why=why, judge="reasoning")


def _source(problem: Problem) -> tuple[str, str, dict[str, Any]]:
    try:
        meta = json.loads(problem.meta)
        return meta["dataset"], json.dumps(meta["options"], sort_keys=True), dict(meta["entry"])
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"problem {problem.prompt.last_user[:40]!r}: `meta` must hold reasoning-gym's dataset, "
            f"options and entry ({type(error).__name__}: {error})"
        ) from error
