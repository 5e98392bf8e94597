"""How long a stage has worked, kept on disk so that a kill loses seconds at most."""

import time
from collections.abc import Callable
from pathlib import Path

from burnish.pipeline.files import read_json, write_json
from burnish.pipeline.progress import Progress, Reporter


class Clock:
    """Seconds a stage has worked, over kills and resumes."""

    SAVE_EVERY_S: float = 5.0

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path, self._now = path / "clock.json", now
        self._before = float((read_json(self._path) or {}).get("seconds", 0.0))
        self._start = self._saved = now()

    def seconds(self) -> float:
        """Wall time so far, earlier sessions included."""
        return self._before + self._now() - self._start

    def tick(self) -> None:
        """Save now and then."""
        if self._now() - self._saved >= self.SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Save now."""
        self._saved = self._now()
        write_json(self._path, {"seconds": self.seconds()})

    def forget(self) -> None:
        """The stage has finished: stage.json holds the total."""
        self._path.unlink(missing_ok=True)


class Ticking:
    """A stage's reporter that also keeps its clock."""

    def __init__(self, screen: Reporter, clock: Clock) -> None:
        self._screen, self._clock = screen, clock

    def task(self, total: int, unit: str) -> Progress:
        """A loop's progress, which ticks the clock."""
        return _TickingTask(self._screen.task(total, unit), self._clock)

    def line(self, text: str) -> None:
        """A message that stays."""
        self._screen.line(text)


class _TickingTask:
    def __init__(self, inner: Progress, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def update(self, done: int, text: str = "") -> None:
        self._inner.update(done, text)
        self._clock.tick()
