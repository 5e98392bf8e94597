"""AI judges: which of two completions is better, or what one is worth.

A pairwise judge is asked twice, with either completion shown first; where the two answers disagree
it is a tie, and counted. Position is what such judges are known to go by (Zheng et al. 2023, arXiv
2306.05685, section 3.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from burnish import rng
from burnish.config import require
from burnish.types import Conversation, Json, Verdict, Winner, content_hash
from burnish.verifiers.chat import Chat, OnAnswer, Question
from burnish.verifiers.judge_prompts import (
    HELPFUL,
    HIGHEST,
    LOWEST,
    pair_prompt,
    point_prompt,
    read_score,
    read_verdict,
    template_hash,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Two completions of one prompt; chance in judging them follows `key`."""

    prompt: Conversation
    a: str
    b: str
    key: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a judge said with a shown first, and with b shown first; None: not readable."""

    a_first: Winner | None
    b_first: Winner | None

    @property
    def winner(self) -> Winner | None:
        """A tie where the two disagree; None where either could not be read."""
        if self.a_first is None or self.b_first is None:
            return None
        return self.a_first if self.a_first == self.b_first else "tie"

    @property
    def consistent(self) -> bool:
        """Whether both were read and agree."""
        return self.a_first is not None and self.a_first == self.b_first


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Which judge this is, to the letter: a calibration holds for this one alone."""

    kind: str
    model: str
    template: str
    """A hash of every word around what is judged, the rubric included."""
    temperature: float
    max_tokens: int
    num_samples: int = 1

    @property
    def id(self) -> str:
        """16 hex digits."""
        return content_hash(*(str(part) for part in self.to_json().values()))

    def to_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "model": self.model,
            "template": self.template,
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "num_samples": self.num_samples,
        }


class Judge(Protocol):
    """Compares completions."""

    @property
    def identity(self) -> Identity: ...

    def compare_all(
        self, pairs: Sequence[Shown], *, on_answer: OnAnswer | None = None
    ) -> list[Judged]:
        """In order."""


@dataclass(frozen=True, kw_only=True)
class Pairwise:
    """Shows two completions in both orders and asks which is better."""

    rubric: str = HELPFUL
    """What counts, in words."""
    temperature: float = 0.0
    max_tokens: int = 256
    """Of an answer: room for a few sentences and the verdict."""

    def __post_init__(self) -> None:
        _check(self.rubric, self.temperature, self.max_tokens)

    def by(self, chat: Chat) -> "PairwiseJudge":
        """This judge, with `chat` to answer."""
        return PairwiseJudge(self, chat)


@dataclass(frozen=True, kw_only=True)
class Pointwise:
    """Shows one completion and asks for a score from 1 to 10."""

    rubric: str = HELPFUL
    """What counts, in words."""
    temperature: float = 0.0
    """Above 0 where num_samples is above 1."""
    max_tokens: int = 256
    num_samples: int = 1
    """Scores that are averaged."""

    def __post_init__(self) -> None:
        _check(self.rubric, self.temperature, self.max_tokens)
        require(self.num_samples >= 1, "num_samples must be at least 1")
        require(
            self.num_samples == 1 or self.temperature > 0,
            "num_samples above 1 needs a temperature above 0: greedy answers are all the same",
        )

    def by(self, chat: Chat) -> "PointwiseJudge":
        """This judge, with `chat` to answer."""
        return PointwiseJudge(self, chat)


class PairwiseJudge:
    """A model that compares."""

    def __init__(self, config: Pairwise, chat: Chat) -> None:
        self._config, self._chat = config, chat

    @property
    def identity(self) -> Identity:
        return Identity(
            kind="pairwise",
            model=self._chat.name,
            template=template_hash("pairwise", self._config.rubric),
            temperature=self._config.temperature,
            max_tokens=self._config.max_tokens,
        )

    def compare_all(
        self, pairs: Sequence[Shown], *, on_answer: OnAnswer | None = None
    ) -> list[Judged]:
        """Two questions a pair."""
        questions = []
        for pair in pairs:
            for order, (first, second) in enumerate([(pair.a, pair.b), (pair.b, pair.a)]):
                text = pair_prompt(self._config.rubric, pair.prompt, first, second)
                questions.append(
                    Question.of(
                        text,
                        seed=rng.key(pair.key, "judge", order),
                        temperature=self._config.temperature,
                        max_tokens=self._config.max_tokens,
                    )
                )
        answers = self._chat.ask_all(questions, on_answer=on_answer)
        said = [read_verdict(answer.text) for answer in answers]
        return [
            Judged(a_first=x, b_first=_swapped(y))
            for x, y in zip(said[::2], said[1::2], strict=True)
        ]


class PointwiseJudge:
    """A model that scores."""

    def __init__(self, config: Pointwise, chat: Chat) -> None:
        self._config, self._chat = config, chat

    @property
    def identity(self) -> Identity:
        return Identity(
            kind="pointwise",
            model=self._chat.name,
            template=template_hash("pointwise", self._config.rubric),
            temperature=self._config.temperature,
            max_tokens=self._config.max_tokens,
            num_samples=self._config.num_samples,
        )

    def verdicts(
        self,
        answered: Sequence[tuple[Conversation, str]],
        keys: Sequence[int],
        *,
        on_answer: OnAnswer | None = None,
    ) -> list[Verdict]:
        """A score in [0, 1] for each (prompt, completion), the mean of those samples that could be
        read; None where none could. `parts` has the mean from 1 to 10, and how many were read."""
        num = self._config.num_samples
        questions = [
            Question.of(
                point_prompt(self._config.rubric, prompt, text),
                seed=rng.key(key, "score", i),
                temperature=self._config.temperature,
                max_tokens=self._config.max_tokens,
            )
            for (prompt, text), key in zip(answered, keys, strict=True)
            for i in range(num)
        ]
        answers = self._chat.ask_all(questions, on_answer=on_answer)
        read = [read_score(answer.text) for answer in answers]
        rows = [read[i : i + num] for i in range(0, len(read), num)]
        return [_averaged(row, f"judge {self.identity.id}") for row in rows]

    def compare_all(
        self, pairs: Sequence[Shown], *, on_answer: OnAnswer | None = None
    ) -> list[Judged]:
        """By the higher score. It sees one completion at a time, so no order can matter."""
        answered = [(pair.prompt, text) for pair in pairs for text in (pair.a, pair.b)]
        keys = [rng.key(pair.key, side) for pair in pairs for side in ("a", "b")]
        scores = [v.score for v in self.verdicts(answered, keys, on_answer=on_answer)]
        found = [_higher(x, y) for x, y in zip(scores[::2], scores[1::2], strict=True)]
        return [Judged(a_first=winner, b_first=winner) for winner in found]


def _swapped(winner: Winner | None) -> Winner | None:
    return "b" if winner == "a" else "a" if winner == "b" else winner


def _higher(a: float | None, b: float | None) -> Winner | None:
    if a is None or b is None:
        return None
    return "tie" if a == b else "a" if a > b else "b"


def _averaged(scores: Sequence[float | None], judge: str) -> Verdict:
    read = [score for score in scores if score is not None]
    if not read:
        return Verdict(score=None, why="no score from 1 to 10 on the last line", judge=judge)
    middle = sum(read) / len(read)
    return Verdict(
        score=(middle - LOWEST) / (HIGHEST - LOWEST),
        parts={"points": middle, "samples": float(len(read))},
        judge=judge,
    )


def _check(rubric: str, temperature: float, max_tokens: int) -> None:
    require(bool(rubric.strip()), "rubric must say what counts")
    require(0 <= temperature <= 2, "temperature must be from 0 to 2")
    require(max_tokens >= 8, "max_tokens must be at least 8")
