"""One optimiser step from any number of slices, and everything a resume needs.

Every kind of training goes through `Trainer.step`: it runs the slices backwards one at a time, sums
their logs, clips, and steps. Slices already carry global weights, so it never divides.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.engine.checkpoint import Checkpoint, load_latest, save_checkpoint
from burnish.engine.optim import MasterAdamW, Optim
from burnish.errors import Interrupted, TrainingError
from burnish.pipeline.stage import Context
from burnish.types import Json


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
