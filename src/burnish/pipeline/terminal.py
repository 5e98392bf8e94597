"""A run on a terminal: one bar for the run, one for the stage at work, finished stages above."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from burnish.pipeline.progress import Forecast, Loop, Progress, duration, printable

if TYPE_CHECKING:  # rich costs 0.1 s to import, which `burnish --help` has not got
    from rich.console import Console
    from rich.progress import TaskID


class Bars:
    """Progress bars by rich; a `Screen`."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )
        self._console = console
        self._forecast = Forecast(names=(), expected_s={})
        self._whole: TaskID | None = None
        self._name, self._entered = "", 0.0

    def begin(self, names: Sequence[str], expected_s: Mapping[str, float]) -> None:
        self._forecast = Forecast(names=names, expected_s=expected_s)
        self._whole = self._bars.add_task("whole run", total=len(names), text="")
        self._bars.start()

    def enter(self, name: str) -> None:
        self._name, self._entered = name, time.monotonic()
        self._bars.update(self._whole_id(), description=f"{name} ({self._position(name)})")

    def leave(self, name: str, seconds: float, text: str = "") -> None:
        self._forecast.actual_s[name] = seconds
        self.line(f"{self._position(name):>7}  {name:<20} {text or duration(seconds)}")
        for task_id in self._bars.task_ids:
            if task_id != self._whole:
                self._bars.remove_task(task_id)
        self._bars.update(self._whole_id(), advance=1)

    def line(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        self._bars.stop()

    def task(self, total: int, unit: str) -> Progress:
        task_id = self._bars.add_task(f"  {unit}", total=total, text="")
        return _Bar(self, task_id, Loop(total, time.monotonic))

    def tick(self, task_id: "TaskID", done: int, text: str, loop_s: float | None) -> None:
        """Move a bar, and both estimates of the time left with it."""
        elapsed = time.monotonic() - self._entered
        stage, whole = self._forecast.left(self._name, elapsed, loop_s)
        eta = "" if stage is None else f"ETA {duration(stage)}"
        remark = printable(text).replace("\n", " ")
        self._bars.update(task_id, completed=done, text=f"{eta}  {remark}".strip())
        if whole is not None:
            self._bars.update(self._whole_id(), text=f"ETA {duration(whole)}")

    def _whole_id(self) -> "TaskID":
        assert self._whole is not None, "begin comes first"
        return self._whole

    def _position(self, name: str) -> str:
        return f"{list(self._forecast.names).index(name) + 1}/{len(self._forecast.names)}"


class _Bar:
    def __init__(self, bars: Bars, task_id: "TaskID", loop: Loop) -> None:
        self._bars, self._task_id, self._loop = bars, task_id, loop

    def update(self, done: int, text: str = "") -> None:
        self._bars.tick(self._task_id, done, text, self._loop.left_s(done))
