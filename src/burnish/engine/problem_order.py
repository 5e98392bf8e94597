"""Which problems a step of RL takes, under which random streams, and which groups it keeps.

A function of seed, step and round alone, but for a curriculum: only that is in checkpoints.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from burnish import rng
from burnish.engine.curriculum import Curriculum, Progress, solved
from burnish.types import Json, Problem, Verdict

Episode = TypeVar("Episode")


class ProblemOrder:
    """Consecutive problems of each epoch's permutation, end to end."""

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        per_step: int,
        seed: int,
        refills: int = 0,
        curriculum: Curriculum | None = None,
    ) -> None:
        self._progress = None if curriculum is None else Progress(curriculum, problems)
        self._problems, self._per_step = problems, per_step
        self._seed, self._refills = seed, refills

    def gather(
        self,
        step: int,
        play: Callable[[int, int], list[list[Episode]]],
        score: Callable[[Episode], float | None],
        verdict: Callable[[Episode], Verdict],
    ) -> tuple[list[list[Episode]], dict[str, float]]:
        """The groups of a step, played round by round as `play(step, round)`, and what to log.

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
        played = [*kept, *silent]
        metrics = self._note([verdict(e) for group in played for e in group])
        if self._refills:
            metrics["rl/discarded_groups"] = float(len(played) - self._per_step)
        return played[: self._per_step], metrics

    def choose(self, step: int, turn: int) -> list[int]:
        """The problems of a step's round, by index."""
        first = (step * (self._refills + 1) + turn) * self._per_step
        chosen: list[int] = []
        own: Sequence[int] = range(len(self._problems))
        level: tuple[int, ...] = ()
        if self._progress is not None:
            own, level = self._progress.problems, (self._progress.level,)
        for place in range(first, first + self._per_step):
            epoch, offset = divmod(place, len(own))
            order = rng.stream(self._seed, "problems", epoch, *level).permutation(len(own))
            chosen.append(own[int(order[offset])])
        return chosen

    def _note(self, verdicts: Sequence[Verdict]) -> dict[str, float]:
        """Take a step's results into the curriculum, if there is one; what to log of it."""
        if self._progress is None:
            return {}
        level = float(self._progress.level)
        self._progress.note([solved(verdict) for verdict in verdicts])
        return {"env/level": level}

    def state(self) -> dict[str, Json]:
        """What a resume needs."""
        return {} if self._progress is None else self._progress.state()

    def restore(self, state: Mapping[str, Json]) -> None:
        """Go on from what `state` saved. Raises: CheckpointError."""
        if self._progress is not None:
            self._progress.restore(state)

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
