"""One turn, judged by the problem's own verifier: what RL without an environment does."""

from dataclasses import dataclass

from burnish.envs.protocol import Opening, Reply
from burnish.types import Problem
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True, slots=True)
class SingleTurn:
    """The prompt, one answer, a verdict. Takes problems of any task that has a verifier."""

    def start(self, problem: Problem, key: int) -> Opening:
        """The problem as it is."""
        del key
        return Opening(conversation=problem.prompt, state=problem)

    def reply(self, state: object, completion: str) -> Reply:
        """The verifier's verdict."""
        assert isinstance(state, Problem)
        return Reply(state=state, verdict=verify_problem(state, completion), done=True)
