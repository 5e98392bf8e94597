"""Clocks for the loops that are compared: a stage's progress, and a callback for Trainers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from bench.duel import StepClock
from burnish.pipeline.progress import Progress, Silent
from burnish.pipeline.stage import Context, Stage


class Ticks(TrainerCallback):  # type: ignore[misc]
    """Ticks after each optimiser step of a transformers Trainer."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def on_step_end(self, *args: Any, **knobs: Any) -> None:
        self._clock.tick()


class _Steps(Silent):
    """Ticks where a stage says that a step is done."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def task(self, total: int, unit: str) -> Progress:
        return self if unit == "step" else Silent()

    def update(self, done: int, text: str = "") -> None:
        self._clock.tick()


def watched(
    folder: Path, stage: Stage, inputs: Mapping[str, Path], clock: StepClock, device: str
) -> Context:
    """A context for a stage on its own, whose steps are timed."""
    ctx = Context.for_test(folder, outputs=stage.outputs, inputs=inputs, device=device)
    return replace(ctx, reporter=_Steps(clock))
