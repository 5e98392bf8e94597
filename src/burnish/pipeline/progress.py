"""What a run says while it works: plain lines here, bars in `terminal`, nothing in tests.

The time left comes from the stages' estimates, rescaled by how long finished work really took.
"""

import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Progress(Protocol):
    """Progress of one loop inside a stage."""

    def update(self, done: int, text: str = "") -> None:
        """`done` units so far in all; `text` is a short remark, such as the loss."""
        ...


class Reporter(Protocol):
    """Where a stage shows its progress."""

    def task(self, total: int, unit: str) -> Progress: ...

    def line(self, text: str) -> None:
        """A message that stays."""
        ...


class Screen(Reporter, Protocol):
    """Where a whole run is shown. `begin` comes first, then for each stage `enter`, `leave`."""

    def begin(self, names: Sequence[str], expected_s: Mapping[str, float]) -> None:
        """The stages to run, in order, and how many seconds each should take where known."""
        ...

    def enter(self, name: str) -> None: ...

    def leave(self, name: str, seconds: float, text: str = "") -> None:
        """A stage ended after `seconds`, or (text) was not run, and why."""
        ...

    def end(self) -> None: ...


class Silent:
    """Shows nothing."""

    def begin(self, names: Sequence[str], expected_s: Mapping[str, float]) -> None:
        return None

    def enter(self, name: str) -> None:
        return None

    def leave(self, name: str, seconds: float, text: str = "") -> None:
        return None

    def line(self, text: str) -> None:
        return None

    def end(self) -> None:
        return None

    def task(self, total: int, unit: str) -> Progress:
        return self

    def update(self, done: int, text: str = "") -> None:
        return None


class Loop:
    """The pace of one loop, counted from where this session found it (a resume starts midway)."""

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self._total, self._clock, self._start = total, clock, clock()
        self._first: int | None = None

    def left_s(self, done: int) -> float | None:
        """Seconds left; None while too little is done to tell."""
        if self._first is None:  # the time before the first update is part of what it took
            self._first = max(0, done - 1)
        here = done - self._first
        if here <= 0 or done < 0.02 * self._total:
            return None
        return (self._clock() - self._start) / here * max(0, self._total - done)


@dataclass(kw_only=True)
class Forecast:
    """How long a run will still take."""

    names: Sequence[str]
    expected_s: Mapping[str, float]
    actual_s: dict[str, float] = field(default_factory=dict)
    """Seconds of stages that ended."""

    def left(
        self, name: str, elapsed_s: float, loop_s: float | None
    ) -> tuple[float | None, float | None]:
        """Seconds left for the stage at work, and for the whole run.

        elapsed_s: in the stage so far. loop_s: left in its loop, if that can be told already.
        None where nothing is known: no estimates were given, or too little is done to tell.
        """
        projected = None if loop_s is None else elapsed_s + loop_s
        actual = sum(self.actual_s[n] for n in self.actual_s if n in self.expected_s)
        guessed = sum(self.expected_s[n] for n in self.actual_s if n in self.expected_s)
        if projected is not None and name in self.expected_s:
            actual, guessed = actual + projected, guessed + self.expected_s[name]
        scale = actual / guessed if actual > 1 and guessed > 0 else 1.0
        if projected is None and name in self.expected_s:
            projected = max(elapsed_s, self.expected_s[name] * scale)
        stage = None if projected is None else projected - elapsed_s
        rest = [n for n in self.names if n not in self.actual_s and n != name]
        if not self.expected_s:
            return stage, None if rest else stage
        # Stages that know no work read and write files: they count as nothing.
        return stage, (stage or 0.0) + scale * sum(self.expected_s.get(n, 0.0) for n in rest)


class Lines:
    """A line now and then, for logs and pipes: `[3/14] sft  step 20/60  ETA 0:42, whole 6:10`."""

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        every_s: float = 15.0,
    ) -> None:
        self._say, self._clock, self._every_s = say, clock, every_s
        self._forecast = Forecast(names=(), expected_s={})
        self._name, self._entered, self._said = "", 0.0, 0.0

    def begin(self, names: Sequence[str], expected_s: Mapping[str, float]) -> None:
        self._forecast = Forecast(names=names, expected_s=expected_s)

    def enter(self, name: str) -> None:
        self._name, self._entered = name, self._clock()
        self._said = self._entered
        self._say(f"{self._tag()} ...")

    def leave(self, name: str, seconds: float, text: str = "") -> None:
        self._name = name
        self._forecast.actual_s[name] = seconds
        self._say(f"{self._tag()} {text or 'done in ' + duration(seconds)}")

    def line(self, text: str) -> None:
        self._say(printable(text))

    def end(self) -> None:
        return None

    def task(self, total: int, unit: str) -> Progress:
        return _LineTask(self, Loop(total, self._clock), total, unit)

    def tick(self, done: int, total: int, unit: str, text: str, loop_s: float | None) -> None:
        """Say how far the loop is, unless something was said a moment ago."""
        now = self._clock()
        if now - self._said < self._every_s:
            return
        self._said = now
        stage, whole = self._forecast.left(self._name, now - self._entered, loop_s)
        eta = "" if stage is None else f"  ETA {duration(stage)}"
        eta += "" if whole is None else f", whole {duration(whole)}"
        remark = f"  {printable(text)}" if text else ""
        self._say(f"{self._tag()}  {unit} {done}/{total}{remark}{eta}")

    def _tag(self) -> str:
        names = list(self._forecast.names)
        number = names.index(self._name) + 1 if self._name in names else 0
        return f"[{number}/{len(names)}] {self._name}"


class _LineTask:
    def __init__(self, lines: Lines, loop: Loop, total: int, unit: str) -> None:
        self._lines, self._loop, self._total, self._unit = lines, loop, total, unit

    def update(self, done: int, text: str = "") -> None:
        self._lines.tick(done, self._total, self._unit, text, self._loop.left_s(done))


def duration(seconds: float) -> str:
    """6:10, or 1:06:10 from an hour up; below ten seconds 4.2 s."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str) -> str:
    """Text from models and files made safe for a terminal: control characters become escapes.

    So do the characters that reorder text; joiners, which emoji need, are kept.
    """
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if char in _REORDERING
        or (char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs"))
        else char
        for char in text
    )
