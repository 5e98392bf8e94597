"""What completions are worth: verifiers and reward models behind one protocol."""

from collections.abc import Sequence
from typing import Protocol

from burnish import rng
from burnish.engine.reward_model import RewardModel
from burnish.types import Problem, Verdict, content_hash
from burnish.verifiers.chat import Usage
from burnish.verifiers.judge import PointwiseJudge
from burnish.verifiers.verify import verify_problem


class Scorer(Protocol):
    """Judges completions; rows are parallel."""

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        """One verdict for each completion."""


class VerifierScorer:
    """Each problem's own verifier."""

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        return [verify_problem(p, t) for p, t in zip(problems, texts, strict=True)]


class RewardModelScorer:
    """A trained reward model's normalised score."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        scores = self._model.scores(prompt_ids, tokens)
        return [Verdict(score=score, judge="reward_model") for score in scores]


class JudgeScorer:
    """An AI judge's score from 0 to 1; equal completions of a problem have equal scores."""

    def __init__(self, judge: PointwiseJudge, *, seed: int, usage: Usage) -> None:
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
