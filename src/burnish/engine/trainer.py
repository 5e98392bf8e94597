"""One optimiser step from any number of slices, and everything a resume needs.

Every kind of training goes through `Trainer.step`: it runs the slices backwards one at a time, sums
their logs, clips, and steps. Slices already carry global weights, so it never divides.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.engine.checkpoint import Checkpoint, load_latest, save_checkpoint
from burnish.engine.optim import MasterAdamW, Optim
from burnish.errors import Interrupted, TrainingError
from burnish.pipeline.stage import Context
from burnish.types import Json

_SAMPLES = "samples"
"""Of a checkpoint's state: beside it stand the sums of the log, by name."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """What one optimiser step did; `sums` are summed over its slices."""

    loss: float
    grad_norm: float
    lr: float
    seconds: float
    sums: Mapping[str, float]

    def metrics(self) -> dict[str, float]:
        """The metrics that every training stage writes."""
        return {
            "train/loss": self.loss,
            "train/grad_norm": self.grad_norm,
            "train/lr": self.lr,
            "train/seconds": self.seconds,
        }


class Trainer:
    """Parameters under training: a model's, and those of a head if there is one."""

    def __init__(
        self, model: nn.Module, optim: Optim, *, num_steps: int, head: nn.Module | None = None
    ) -> None:
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        if head is not None:
            named += [(f"head.{n}", p) for n, p in head.named_parameters()]
        self.model, self.head = model, head
        self._optim_config, self._num_steps = optim, num_steps
        self._named = named
        self.optim = MasterAdamW(named, optim)

    def step(self, slices: Iterable[Loss]) -> StepLog:
        """Sum the slices' gradients and take one optimiser step.

        Raises:
            TrainingError: the loss or gradient is not finite; the weights are left as they were.
        """
        started, total = time.perf_counter(), 0.0
        sums: dict[str, float] = {}
        for part in slices:
            value = float(part.total.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at optimiser step {self.optim.num_steps}; the last "
                    "checkpoint is good: look at that step's samples and learning rate"
                )
            if part.total.requires_grad:
                part.total.backward()  # type: ignore[no-untyped-call]
            total += value
            for name, tensor in part.sums.items():
                sums[name] = sums.get(name, 0.0) + float(tensor)
        lr = self._optim_config.lr_at(self.optim.num_steps, self._num_steps)
        norm = self.optim.step(lr)
        return StepLog(total, norm, lr, time.perf_counter() - started, sums)

    def weights(self) -> Mapping[str, Tensor]:
        """The model's live trained parameters (a view, not a copy), without the head's."""
        live = self.model.named_parameters()
        return {name: p.detach() for name, p in live if p.requires_grad}

    def tensors(self) -> dict[str, Tensor]:
        """Master weights and optimiser state."""
        return self.optim.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.optim.load(tensors)


class Checkpointer:
    """Saves every `every_s` seconds, and when the process is asked to stop.

    When a checkpoint is taken has no influence on what is computed, so wall time may decide it.
    """

    def __init__(self, ctx: Context, every_s: float) -> None:
        self._ctx, self._every_s = ctx, every_s
        self._folder: Path = ctx.checkpoints
        self._last = time.monotonic()

    def restore(self) -> Checkpoint | None:
        """The last complete checkpoint; metrics of later steps are forgotten."""
        found = load_latest(self._folder)
        self._ctx.metrics.rewind(0 if found is None else found.step)
        return found

    def after_step(
        self,
        done: int,
        content: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Json]]],
    ) -> None:
        """Call after each step with the number of steps done.

        Raises:
            Interrupted: the process was asked to stop; the state has been saved.
        """
        stopping = self._ctx.stopping()
        if stopping or time.monotonic() - self._last >= self._every_s:
            tensors, state = content()
            save_checkpoint(self._folder, done, tensors, state)
            self._last = time.monotonic()
        if stopping:
            raise Interrupted()


def take_steps(
    ctx: Context,
    trainer: Trainer,
    num_steps: int,
    *,
    checkpoint_s: float,
    losses: Callable[[int], Iterable[Loss]],
    metrics: Callable[[StepLog], dict[str, float]],
    samples: Callable[[int], Sequence[Mapping[str, Json]]] | None = None,
    enough: Callable[[Mapping[str, float]], bool] | None = None,
) -> dict[str, float]:
    """Run all steps, resuming from a checkpoint if there is one; returns the summed log sums.

    `enough(sums so far)` ends it before all steps are taken; there is always one.

    `losses(step)` yields the slices of one step; `metrics(log)` names what to write; after a step,
    `samples(step)` gives what it adds to the samples that the report shows.
    """
    saver = Checkpointer(ctx, checkpoint_s)
    totals: dict[str, float] = {}
    shown: list[Json] = []
    start = 0
    if (found := saver.restore()) is not None:
        trainer.load(found.tensors)
        start = found.step
        state = dict(found.state)
        shown = list(state.pop(_SAMPLES, []))  # type: ignore[arg-type]
        totals = {k: float(v) for k, v in state.items() if isinstance(v, int | float)}

    def content() -> tuple[dict[str, Tensor], dict[str, Json]]:
        return trainer.tensors(), {**totals, _SAMPLES: shown}

    progress = ctx.progress(num_steps, "step")
    for step in range(start, num_steps):
        if enough is not None and totals and enough(totals):
            break
        log = trainer.step(losses(step))
        values = metrics(log)
        ctx.metrics.write(step, log.metrics() | values)
        for name, value in log.sums.items():
            totals[name] = totals.get(name, 0.0) + value
        if samples is not None:
            shown += [dict(row) for row in samples(step)]
            ctx.write_samples(row for row in shown if isinstance(row, dict))
        progress.update(step + 1, _line(values))
        if step + 1 < num_steps:
            saver.after_step(step + 1, content)
    return totals


def _line(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name.partition('/')[2]} {value:.3g}" for name, value in values.items())
