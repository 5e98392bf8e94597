"""One door to every verifier: a problem names its task, the task names its verifier."""

import json

from burnish.errors import DataError
from burnish.types import Problem, Verdict
from burnish.verifiers.everyday import verify_everyday
from burnish.verifiers.exact import verify_exact

EVERYDAY = "everyday"


def verify_problem(problem: Problem, completion: str) -> Verdict:
    """The verdict of the problem's own verifier: the rubric, or the exact answer.

    A problem without a reference answer cannot be scored.

    Raises:
        DataError: the problem's constraints are not such as the rubric knows.
    """
    if problem.task == EVERYDAY:
        try:
            constraints = json.loads(problem.meta).get("constraints", [])
            return verify_everyday(completion, problem.prompt.last_user, constraints)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"problem {problem.prompt.last_user[:40]!r}: `meta` must be JSON of constraints "
                f"that the rubric knows ({type(error).__name__}: {error})"
            ) from error
    if not problem.answer.strip():
        return Verdict(score=None, why="the problem has no reference answer", judge="exact")
    return verify_exact(completion, problem.answer)
