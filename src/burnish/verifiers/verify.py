"""One door to every verifier: a problem names its task, the task names its verifier.

A verifier is a function of a problem and a completion. Its module imports nothing heavy until it is
called. Tasks without a line here, such as reasoning-gym's, are checked by the exact answer.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from burnish.errors import DataError
from burnish.types import Problem, Verdict
from burnish.verifiers.choice import verify_choice_problem
from burnish.verifiers.code import TASK as CODE
from burnish.verifiers.code import verify_code_problem
from burnish.verifiers.everyday import verify_everyday_problem
from burnish.verifiers.exact import verify_exact_problem
from burnish.verifiers.gsm8k import verify_gsm8k_problem
from burnish.verifiers.instruction_following import verify_instruction_following
from burnish.verifiers.math import verify_math_problem
from burnish.verifiers.reasoning import verify_reasoning_problem


class Verifier(Protocol):
    """Judges one completion; never raises for what a model wrote, only for a wrong problem."""

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """The verdict; score None where the problem cannot be scored."""


EVERYDAY = "everyday"
VERIFIERS: Mapping[str, Verifier] = {
    EVERYDAY: verify_everyday_problem,
    "choice": verify_choice_problem,
    "exact": verify_exact_problem,
    "reasoning": verify_reasoning_problem,
    CODE: verify_code_problem,
    "gsm8k": verify_gsm8k_problem,
    "math": verify_math_problem,
    "instruction_following": verify_instruction_following,
}
SLOW: frozenset[str] = frozenset({CODE, "math", "reasoning"})
"""Tasks whose verifiers mostly wait for a process of their own: they are judged in threads, while
other completions are still being sampled."""


def verify_problem(problem: Problem, completion: str) -> Verdict:
    """The verdict of the problem's own verifier.

    Raises:
        DataError: the problem's answer or `meta` is not such as its verifier reads.
    """
    return VERIFIERS.get(problem.task, verify_exact_problem)(problem, completion)


def gold_scores(answered: Sequence[tuple[Problem, str]], where: str) -> list[float]:
    """The score of each (problem, completion) by the problem's own verifier.

    Raises:
        DataError: one has no score; says how many, of the problems that `where` names.
    """
    scores = [verify_problem(problem, text).score for problem, text in answered]
    missing = sum(score is None for score in scores)
    if missing:
        raise DataError(
            f"{where}: {missing} of {len(scores)} completions have no gold score; give problems "
            "with a verifier"
        )
    return [float(score) for score in scores if score is not None]
