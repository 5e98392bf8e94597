"""Completions with a known verdict: what a verifier is tried on before anything trains on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from burnish.types import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A completion that must pass, or must not."""

    problem: Problem
    completion: str
    passes: bool
    kind: str
    """The attack, or the way of writing a right answer: what results are grouped by."""


class Cases(Protocol):
    """Generates a verifier's cases: attacks, wrong answers, and right ones written otherwise."""

    def __call__(self, num: int, seed: int) -> Sequence[Case]:
        """At least `num` cases of each kind; the same for the same seed."""
