"""What a stage has cost so far, kept on disk so that a kill loses seconds at most."""

import time
from collections.abc import Callable
from pathlib import Path

from burnish.pipeline.files import read_json, write_json
from burnish.pipeline.peak import PeakMemory
from burnish.pipeline.progress import Progress, Reporter


class Clock:
    """Seconds a stage has worked and the most memory it held, over kills and resumes."""

    SAVE_EVERY_S: float = 5.0

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path, self._now = path / "clock.json", now
        before = read_json(self._path) or {}
        self._before = float(before.get("seconds", 0.0))
        self._peak_before = int(before.get("peak_bytes") or 0)
        self._start = self._saved = now()
        self._memory = PeakMemory()

    def seconds(self) -> float:
        """Wall time so far, earlier sessions included."""
        return self._before + self._now() - self._start

    def peak_bytes(self) -> int | None:
        """The most that the process held while the stage worked; None where no session told."""
        now = self._memory.bytes()
        return max(now or 0, self._peak_before) or None

    def tick(self) -> None:
        """Save now and then."""
        if self._now() - self._saved >= self.SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Save now."""
        self._saved = self._now()
        write_json(self._path, {"seconds": self.seconds(), "peak_bytes": self.peak_bytes()})

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
