"""Completions with a known verdict: what a verifier is tried on before anything trains on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from burnish.types import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A completion that must pass, must not, or must have no score at all."""

    problem: Problem
    completion: str
    passes: bool | None
    """None: whatever score it is given is an error, as of a judge's reply that cannot be read."""
    kind: str
    """The attack, or the way of writing a right answer: what results are grouped by."""


class Cases(Protocol):
    """Generates a verifier's cases: attacks, wrong answers, and right ones written otherwise."""

    def __call__(self, num: int, seed: int) -> Sequence[Case]:
        """At least `num` cases of each kind; the same for the same seed."""
