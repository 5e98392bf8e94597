"""An AI judge as a scorer of completions."""

from collections.abc import Sequence

from burnish import rng
from burnish.types import Problem, Verdict, content_hash
from burnish.verifiers.chat import Usage
from burnish.verifiers.judge import PointwiseJudge
from burnish.verifiers.likelihood_judge import PointwiseLikelihoodJudge


class JudgeScorer:
    """An AI judge's score from 0 to 1; equal completions of a problem have equal scores."""

    def __init__(
        self, judge: PointwiseJudge | PointwiseLikelihoodJudge, *, seed: int, usage: Usage
    ) -> None:
        self._judge = judge
        self._seed = seed
        self.usage = usage
        """What asking has taken so far."""

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        answered = [(p.prompt, text) for p, text in zip(problems, texts, strict=True)]
        keys = [
            rng.key(self._seed, "judge", problem.id, content_hash(text))
            for problem, text in zip(problems, texts, strict=True)
        ]
        return self._judge.verdicts(answered, keys)
