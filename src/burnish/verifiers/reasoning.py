"""reasoning-gym's own scorers, for tasks that have more than one right answer.

The problem's `meta` holds what a scorer reads: the data set's name, its options and the entry. Its
score may be a part of 1 for an answer that is near, or in another form: passed means exactly 1.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from burnish.errors import DataError
from burnish.types import Problem, Verdict
from burnish.verifiers.exact import given_answer

Score = Callable[[str | None, dict[str, Any]], float]


def verify_reasoning_problem(problem: Problem, completion: str) -> Verdict:
    """The scorer's score of what follows `Answer:`; 0 without one, or with several that differ.

    Raises:
        DataError: `meta` names no data set of reasoning-gym, or holds no entry of it.
    """
    name, options, entry = _source(problem)
    answer = given_answer(completion, problem.prompt.text)
    if not answer:
        return Verdict(score=0.0, passed=False, why="no `Answer:`, or several", judge="reasoning")
    scorer = _scorer(name, options)
    try:
        score = float(scorer(answer, entry))
    except Exception as error:  # a scorer of foreign making, on text that a model wrote
        why = f"the scorer of {name} failed ({type(error).__name__})"
        return Verdict(score=0.0, passed=False, why=why, judge="reasoning")
    passed = score == 1.0
    why = "" if passed else f"answered {answer[:40]!r}, which scores {score:g}"
    return Verdict(score=score, passed=passed, why=why, judge="reasoning")


def _source(problem: Problem) -> tuple[str, str, dict[str, Any]]:
    try:
        meta = json.loads(problem.meta)
        return meta["dataset"], json.dumps(meta["options"], sort_keys=True), dict(meta["entry"])
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"problem {problem.prompt.last_user[:40]!r}: `meta` must hold reasoning-gym's dataset, "
            f"options and entry ({type(error).__name__}: {error})"
        ) from error


@functools.lru_cache(maxsize=64)
def _scorer(name: str, options: str) -> Score:
    import reasoning_gym

    given: Mapping[str, Any] = json.loads(options)
    try:
        made = reasoning_gym.create_dataset(name, **{**given, "size": 1, "seed": 0})
    except (TypeError, AssertionError, ValueError) as error:
        raise DataError(
            f"`meta`: {name} with {options} is not in reasoning-gym: {error}"
        ) from error
    scorer: Score = made.score_answer
    return scorer
