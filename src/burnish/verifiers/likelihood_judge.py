"""Judges that write nothing: the verdict is read from how likely each allowed one is.

A small model seldom ends an answer in the form that was asked for, but it gives every form a
probability. So it is shown the question and the allowed verdicts as its own answer, and their
likelihoods are compared (as choices are scored in Brown et al. 2020, arXiv 2005.14165, section
2.4). Nothing is unreadable then; whether it means anything is for calibration to show, by the same
gate. Only models of ours tell likelihoods: an endpoint is refused.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from burnish.config import require
from burnish.types import Conversation, Verdict, Winner
from burnish.verifiers.chat import Chat, OnAnswer, Question
from burnish.verifiers.judge import Identity, Judged, Pairwise, Pointwise, Shown
from burnish.verifiers.judge_prompts import HELPFUL, pair_prompt, point_prompt, template_hash

VERDICTS = ("Verdict: A", "Verdict: B")
SCORES = tuple(f"Score: {points}" for points in range(1, 11))


@dataclass(frozen=True, kw_only=True)
class PairwiseLikelihood:
    """Compares the likelihoods of the two verdicts, summed over both orders."""

    rubric: str = HELPFUL
    """What counts, in words."""

    def __post_init__(self) -> None:
        require(bool(self.rubric.strip()), "rubric must say what counts")

    def by(self, chat: Chat) -> "PairwiseLikelihoodJudge":
        """This judge, with `chat` to answer."""
        return PairwiseLikelihoodJudge(self, chat)


@dataclass(frozen=True, kw_only=True)
class PointwiseLikelihood:
    """The expectation of a score from 1 to 10 under the likelihoods of the ten (G-Eval, Liu et al.
    2023, arXiv 2303.16634, section 2)."""

    rubric: str = HELPFUL
    """What counts, in words."""

    def __post_init__(self) -> None:
        require(bool(self.rubric.strip()), "rubric must say what counts")

    def by(self, chat: Chat) -> "PointwiseLikelihoodJudge":
        """This judge, with `chat` to answer."""
        return PointwiseLikelihoodJudge(self, chat)


class PairwiseLikelihoodJudge:
    """A model whose log-odds for a completion are added over both orders.

    What it adds for the place where a completion is shown cancels: so its verdict is the same in
    both orders by construction, and only agreement with labels can show that it is any good.
    """

    def __init__(self, config: PairwiseLikelihood, chat: Chat) -> None:
        self._config, self._chat = config, chat

    @property
    def identity(self) -> Identity:
        return _identity("pairwise_likelihood", self._config.rubric, self._chat)

    def compare_all(
        self, pairs: Sequence[Shown], *, on_answer: OnAnswer | None = None
    ) -> list[Judged]:
        """Two questions a pair."""
        questions = [
            _question(pair_prompt(self._config.rubric, pair.prompt, *shown, brief=True), VERDICTS)
            for pair in pairs
            for shown in ((pair.a, pair.b), (pair.b, pair.a))
        ]
        odds = [first - second for first, second in _likelihoods(self._chat, questions, on_answer)]
        winners = [_winner(x - y) for x, y in zip(odds[::2], odds[1::2], strict=True)]
        return [Judged(a_first=winner, b_first=winner) for winner in winners]


class PointwiseLikelihoodJudge:
    """A model that scores by expectation."""

    def __init__(self, config: PointwiseLikelihood, chat: Chat) -> None:
        self._config, self._chat = config, chat

    @property
    def identity(self) -> Identity:
        return _identity("pointwise_likelihood", self._config.rubric, self._chat)

    def verdicts(
        self,
        answered: Sequence[tuple[Conversation, str]],
        keys: Sequence[int],
        *,
        on_answer: OnAnswer | None = None,
    ) -> list[Verdict]:
        """A score in [0, 1] for each (prompt, completion); `keys` draw nothing here."""
        questions = [
            _question(point_prompt(self._config.rubric, prompt, text, brief=True), SCORES)
            for prompt, text in answered
        ]
        points = [expectation(row) for row in _likelihoods(self._chat, questions, on_answer)]
        judge = f"judge {self.identity.id}"
        return [Verdict(score=(p - 1) / 9, parts={"points": p}, judge=judge) for p in points]

    def compare_all(
        self, pairs: Sequence[Shown], *, on_answer: OnAnswer | None = None
    ) -> list[Judged]:
        """By the higher expectation. It sees one completion at a time, so no order can matter."""
        answered = [(pair.prompt, text) for pair in pairs for text in (pair.a, pair.b)]
        found = self.verdicts(answered, [0] * len(answered), on_answer=on_answer)
        points = [verdict.parts["points"] for verdict in found]
        winners = [_winner(x - y) for x, y in zip(points[::2], points[1::2], strict=True)]
        return [Judged(a_first=winner, b_first=winner) for winner in winners]


AnyJudge: TypeAlias = Pairwise | Pointwise | PairwiseLikelihood | PointwiseLikelihood
"""Judges that a recipe can name."""


def expectation(logprobs: Sequence[float]) -> float:
    """sum_k k p_k, where p is softmax of the log-probabilities of 1, 2, ...

    >>> expectation([0.0, 0.0])
    1.5
    """
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    return sum(k * w for k, w in enumerate(weights, 1)) / sum(weights)


def _likelihoods(
    chat: Chat, questions: Sequence[Question], on_answer: OnAnswer | None
) -> list[list[float]]:
    return [json.loads(answer.text) for answer in chat.ask_all(questions, on_answer=on_answer)]


def _question(text: str, choices: tuple[str, ...]) -> Question:
    asked = Question.of(text, seed=0, temperature=0.0, max_tokens=0)
    return Question(messages=asked.messages, seed=0, temperature=0.0, max_tokens=0, choices=choices)


def _identity(kind: str, rubric: str, chat: Chat) -> Identity:
    template = template_hash(kind, rubric)
    return Identity(kind=kind, model=chat.name, template=template, temperature=0.0, max_tokens=0)


def _winner(difference: float) -> Winner:
    return "tie" if difference == 0 else "a" if difference > 0 else "b"
