"""A curriculum: problems of one level until enough of them are solved, then those of the next.

A problem's level stands in its `meta` (`{"level": 2}`); without one it is 0. The level reached and
the results that count towards the next are part of a run's checkpoints.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from burnish.config import require
from burnish.errors import CheckpointError, DataError
from burnish.types import Json, Problem, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """When to go on."""

    threshold: float = 0.7
    """Share of the window that must be solved."""
    window: int = 64
    """Completions of the present level, the latest."""

    def __post_init__(self) -> None:
        require(0 < self.threshold <= 1, "threshold must be in (0, 1]")
        require(self.window >= 1, "window must be at least 1")


class Progress:
    """Where a run stands in its curriculum."""

    def __init__(self, curriculum: Curriculum, problems: Sequence[Problem]) -> None:
        self._curriculum = curriculum
        self._by_level: dict[int, list[int]] = {}
        for i, problem in enumerate(problems):
            self._by_level.setdefault(level_of(problem), []).append(i)
        self._levels = sorted(self._by_level)
        self._reached = 0
        self._recent: deque[bool] = deque(maxlen=curriculum.window)

    @property
    def level(self) -> int:
        """Of the problems to take now."""
        return self._levels[self._reached]

    @property
    def problems(self) -> list[int]:
        """Those of the level, by index."""
        return self._by_level[self.level]

    def note(self, solved: Sequence[bool]) -> None:
        """Take results of the level in; goes on to the next level where they suffice."""
        self._recent.extend(solved)
        full = len(self._recent) == self._curriculum.window
        share = sum(self._recent) / max(len(self._recent), 1)
        if full and share >= self._curriculum.threshold and self._reached + 1 < len(self._levels):
            self._reached += 1
            self._recent.clear()

    def state(self) -> dict[str, Json]:
        """For a checkpoint."""
        return {"level": self.level, "recent": [int(s) for s in self._recent]}

    def restore(self, state: Mapping[str, Json]) -> None:
        """Go on from what `state` saved. Raises: CheckpointError."""
        level, recent = state.get("level"), state.get("recent")
        if level not in self._levels or not isinstance(recent, list):
            raise CheckpointError("the checkpoint is not of this curriculum; delete it")
        self._reached = self._levels.index(int(str(level)))
        self._recent.extend(bool(s) for s in recent)


def level_of(problem: Problem) -> int:
    """The level in a problem's `meta`, or 0.

    Raises:
        DataError: it is no whole number.
    """
    try:
        meta = json.loads(problem.meta)
    except ValueError:
        return 0
    level = meta.get("level", 0) if isinstance(meta, dict) else 0
    if isinstance(level, bool) or not isinstance(level, int):
        raise DataError(f"problem {problem.prompt.last_user[:40]!r}: meta.level must be an integer")
    return level


def solved(verdict: Verdict) -> bool:
    """Passed, or, where a verdict only grades, full marks."""
    return verdict.passed if verdict.passed is not None else verdict.score == 1
