"""What stages will read and write, in tokens, before any of them has run.

Problems and demonstrations that cost nothing to make are made and counted. How long a model's
completions will be nobody knows; the guess is that it answers a problem as briefly as what it was
last seen to write, or was taught to write, for the likeliest one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeAlias, runtime_checkable

from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Work
from burnish.types import mean

SAMPLE = 256
"""Rows that stand for all of an artifact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A prompt, and what follows it."""

    words: frozenset[str]
    """Of the prompt's last turn: what is asked."""
    prompt_tokens: int
    completion_tokens: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """What an artifact holds; of a model, what it learnt from or was seen to write."""

    num_rows: float
    """Problems, conversations, prompts with completions."""
    sample: tuple[Text, ...]
    """Some of them; never none."""
    per_row: float = 1.0
    """Completions of each prompt."""

    @property
    def prompt_tokens(self) -> float:
        """Mean."""
        return mean([t.prompt_tokens for t in self.sample])

    @property
    def completion_tokens(self) -> float:
        """Mean of one completion."""
        return mean([t.completion_tokens for t in self.sample])

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt seen."""
        return max(t.prompt_tokens for t in self.sample)

    @property
    def tree_tokens(self) -> float:
        """Mean tokens of a prompt and its completions, the prompt counted once."""
        return self.prompt_tokens + self.per_row * self.completion_tokens

    def answering(self, problems: "Texts", limit: int) -> "Texts":
        """The problems, each with a completion as long as those that follow the likeliest prompts
        here, at most `limit`."""
        answered = tuple(
            replace(p, completion_tokens=min(self._length_after(p.words), limit))
            for p in problems.sample
        )
        return replace(problems, sample=answered)

    def _length_after(self, words: frozenset[str]) -> float:
        near = [_likeness(words, text.words) for text in self.sample]
        return mean(
            [
                text.completion_tokens
                for text, likeness in zip(self.sample, near, strict=True)
                if likeness >= max(near)
            ]
        )

    def first(self, num_rows: float | None) -> Self:
        """At most so many of the rows."""
        return replace(self, num_rows=min(self.num_rows, num_rows or self.num_rows))


def joined(parts: Sequence[Texts]) -> Texts:
    """All rows together, each prompt with one completion; each part in proportion to its size."""
    rows = [p.num_rows * p.per_row for p in parts]
    sample: list[Text] = []
    for part, number in zip(parts, rows, strict=True):
        share = number / max(sum(rows), 1e-9)
        count = max(round(share * SAMPLE), 1)
        sample += [part.sample[i % len(part.sample)] for i in range(count)]
    return Texts(num_rows=sum(rows), sample=tuple(sample))


Known: TypeAlias = Mapping[Ref, Texts]
"""What is known of artifacts."""


@runtime_checkable
class Forecasting(Protocol):
    """A stage that can say more of its work, and of what it writes, the more is known of what it
    reads."""

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        """Its work, and what is known of its outputs by name."""
        ...


def _likeness(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared words over all words (Jaccard)."""
    return len(a & b) / max(len(a | b), 1)
