"""Which problems a step of RL takes, under which random streams, and which groups it keeps.

A function of seed, step and round alone: nothing of it needs to be checkpointed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from burnish import rng
from burnish.types import Problem

Episode = TypeVar("Episode")


class ProblemOrder:
    """Consecutive problems of each epoch's permutation, end to end."""

    def __init__(
        self, problems: Sequence[Problem], *, per_step: int, seed: int, refills: int = 0
    ) -> None:
        self._problems, self._per_step = problems, per_step
        self._seed, self._refills = seed, refills

    def gather(
        self,
        step: int,
        play: Callable[[int, int], list[list[Episode]]],
        score: Callable[[Episode], float | None],
    ) -> tuple[list[list[Episode]], int]:
        """The groups of a step, played round by round as `play(step, round)`, and how many more
        were played.

        Groups whose scores are all equal are played anew from other problems, in at most `refills`
        further rounds (DAPO's dynamic sampling); what is still missing then is filled with silent
        groups, so that a step always has the same size.
        """
        kept: list[list[Episode]] = []
        silent: list[list[Episode]] = []
        for turn in range(self._refills + 1):
            for group in play(step, turn):
                carries = self._refills == 0 or len({score(e) for e in group} - {None}) > 1
                (kept if carries else silent).append(group)
            if len(kept) >= self._per_step:
                break
        return [*kept, *silent][: self._per_step], len(kept) + len(silent) - self._per_step

    def choose(self, step: int, turn: int) -> list[int]:
        """The problems of a step's round, by index."""
        first = (step * (self._refills + 1) + turn) * self._per_step
        chosen = []
        for place in range(first, first + self._per_step):
            epoch, offset = divmod(place, len(self._problems))
            order = rng.stream(self._seed, "problems", epoch).permutation(len(self._problems))
            chosen.append(int(order[offset]))
        return chosen

    def keys(self, step: int, turn: int, chosen: Sequence[int], name: str = "rollout") -> list[int]:
        """A stream for each chosen problem: that of its id, and of its place where it comes twice
        in one step."""
        seen: Counter[str] = Counter()
        found = []
        for i in chosen:
            problem_id = self._problems[i].id
            later = (turn, problem_id) if turn else (problem_id,)
            again = (seen[problem_id],) if seen[problem_id] else ()
            found.append(rng.key(self._seed, name, step, *later, *again))
            seen[problem_id] += 1
        return found
