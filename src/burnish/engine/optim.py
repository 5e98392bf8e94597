"""AdamW with float32 master weights, whatever the model computes in, and its schedules.

A bfloat16 weight near 1 moves in steps of 0.004: at the learning rates of post-training most
updates would round to nothing. Gradients of micro-batches are summed in float32 too.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from burnish.config import require
from burnish.engine.pages import Pages, room
from burnish.engine.split_master import STATE, SplitMaster, dense_grad, round_into
from burnish.errors import TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class Optim:
    """AdamW (Loshchilov & Hutter 2019, 1711.05101) and its schedule."""

    lr: float
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: constant, or down to `final_lr_ratio` of the peak at the last step."""
    warmup_ratio: float = 0.0
    """Share of the steps in which the rate rises linearly to its peak."""
    warmup_steps: int = 0
    """At least so many steps of warm-up, where the share is less."""
    warmup_from: float = 0.0
    """What the rate rises from in the warm-up, over the peak."""
    final_lr_ratio: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    head_lr_ratio: float = 1.0
    """Learning rate of a scalar head over the model's. A value head that starts at zero must learn
    within a few rollouts: the quickstart has 100 there."""
    max_grad_norm: float = 1.0
    """Global gradient norm above which the gradient is scaled down."""

    def __post_init__(self) -> None:
        require(0 < self.lr < math.inf, f"lr must be above 0 and finite (got {self.lr})")
        require(0 <= self.beta1 < 1, "beta1 must be in [0, 1)")
        require(0 <= self.beta2 < 1, "beta2 must be in [0, 1)")
        require(self.weight_decay >= 0, "weight_decay must be at least 0")
        require(0 <= self.warmup_ratio < 1, "warmup_ratio must be in [0, 1)")
        require(self.warmup_steps >= 0, "warmup_steps must be at least 0")
        require(0 <= self.warmup_from <= 1, "warmup_from must be in [0, 1]")
        require(0 <= self.final_lr_ratio <= 1, "final_lr_ratio must be in [0, 1]")
        require(self.eps > 0, "eps must be above 0")
        require(self.head_lr_ratio > 0, "head_lr_ratio must be above 0")
        require(self.max_grad_norm > 0, "max_grad_norm must be above 0")

    def lr_at(self, step: int, num_steps: int) -> float:
        """The learning rate of optimiser step `step` (from 0) of `num_steps`."""
        warmup = max(round(self.warmup_ratio * num_steps), self.warmup_steps)
        if step < warmup:
            risen = (step + 1) / warmup
            return self.lr * (self.warmup_from + (1 - self.warmup_from) * risen)
        if self.schedule == "constant":
            return self.lr
        done = (step - warmup) / max(num_steps - warmup, 1)
        if self.schedule == "linear":
            shape = 1 - done
        else:
            shape = (1 + float(torch.cos(torch.tensor(torch.pi * done)))) / 2
        return self.lr * (self.final_lr_ratio + (1 - self.final_lr_ratio) * shape)


HEAD_NAMES = frozenset({"head.weight", "head.bias"})
"""What `Trainer` calls the parameters of a scalar head."""


class _Moments(NamedTuple):
    """What AdamW remembers of one tensor."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @classmethod
    def zero(cls, master: Tensor) -> "_Moments":
        """Before the first step."""
        step = torch.zeros((), dtype=torch.float32, device=master.device)
        return cls(step, torch.zeros_like(master), torch.zeros_like(master))


class MasterAdamW:
    """AdamW over float32 masters of a model's trainable parameters.

    On the CPU bfloat16 parameters have their masters' lower bits beside them and are stepped in one
    pass (`kernels.adamw`); all others go through torch's AdamW, with a float32 copy where needed,
    and are rounded alike.
    """

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], config: Optim) -> None:
        self._config = config
        split = [(n, p) for n, p in named if SplitMaster.fits(p) and n not in HEAD_NAMES]
        pages = Pages(2 * sum(room(p) for _, p in split))
        self._split = {n: SplitMaster(p, pages) for n, p in split}
        self._whole = [(n, p) for n, p in named if n not in self._split]
        self._masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for _, p in self._whole
        ]
        self._moments: dict[str, _Moments] = {}
        for (_, live), master in zip(self._whole, self._masters, strict=True):
            if live is not master:
                live.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    self._collector(master)
                )
        self._steps = 0

    @staticmethod
    def _collector(master: Tensor) -> Callable[[Tensor], None]:
        def collect(live: Tensor) -> None:
            grad = dense_grad(live)
            if master.grad is None:
                master.grad = grad.float()
            else:
                master.grad += grad
            live.grad = None

        return collect

    @property
    def num_steps(self) -> int:
        """Optimiser steps taken."""
        return self._steps

    def step(self, lr: float) -> float:
        """Clip, step, copy back to the model; returns the gradient norm before clipping.

        Raises:
            TrainingError: the gradient is not finite; the weights are left as they were.
        """
        split = [part for part in self._split.values() if part.grad is not None]
        whole = [m for m in self._masters if m.grad is not None]
        self._steps += 1
        if not split and not whole:
            return 0.0
        squares = sum(part.sum_of_squares() for part in split)
        norm = math.hypot(math.sqrt(squares), float(nn.utils.get_total_norm(_grads(whole))))
        if not math.isfinite(norm):
            self._steps -= 1
            raise TrainingError(
                f"the gradient is not finite at optimiser step {self._steps}; the last checkpoint "
                "is good: lower the learning rate, or look at that step's samples"
            )
        scale = min(self._config.max_grad_norm / (norm + 1e-6), 1.0)
        for part in split:
            part.step(self._config, lr, scale)
        if whole:
            self._step_whole(lr, scale)
        return norm

    @torch.no_grad()
    def _step_whole(self, lr: float, scale: float) -> None:
        if scale < 1:
            torch._foreach_mul_(_grads(self._masters), scale)
        moved = [
            (name, master)
            for (name, _), master in zip(self._whole, self._masters, strict=True)
            if master.grad is not None
        ]
        head = [(name, master) for name, master in moved if name in HEAD_NAMES]
        self._update([(name, master) for name, master in moved if name not in HEAD_NAMES], lr)
        self._update(head, lr * self._config.head_lr_ratio)
        for (_, live), master in zip(self._whole, self._masters, strict=True):
            if live is not master:
                round_into(live, master)

    def _update(self, moved: Sequence[tuple[str, Tensor]], lr: float) -> None:
        """AdamW by torch's function: around it torch's class does three times its work for a small
        net, and its first step imports a compiler."""
        if not moved:
            return
        for name, master in moved:
            if name not in self._moments:
                self._moments[name] = _Moments.zero(master)
        masters = [master for _, master in moved]
        moments = [self._moments[name] for name, _ in moved]
        adamw(
            masters,
            _grads(masters),
            [m.exp_avg for m in moments],
            [m.exp_avg_sq for m in moments],
            [],
            [m.step for m in moments],
            fused=True,
            amsgrad=False,
            beta1=self._config.beta1,
            beta2=self._config.beta2,
            lr=lr,
            weight_decay=self._config.weight_decay,
            eps=self._config.eps,
            maximize=False,
        )
        for master in masters:
            master.grad = None

    def masters(self) -> Iterator[tuple[str, Tensor]]:
        """The float32 weights and their names, a head's left out: one by one, since some are put
        together for it."""
        for name, part in self._split.items():
            yield name, part.tensors()["master"]
        for (name, _), master in zip(self._whole, self._masters, strict=True):
            if name not in HEAD_NAMES:
                yield name, master.detach()

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs, by name."""
        out: dict[str, Tensor] = {"optim.steps": torch.tensor(self._steps)}
        for name, part in self._split.items():
            out |= {f"{what}.{name}": tensor for what, tensor in part.tensors().items()}
        for (name, _), master in zip(self._whole, self._masters, strict=True):
            out[f"master.{name}"] = master
            if name in self._moments:
                parts = self._moments[name]._asdict()
                out |= {f"{part}.{name}": tensor for part, tensor in parts.items()}
        return out

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` saved, into the model too."""
        self._steps = int(tensors["optim.steps"])
        for name, part in self._split.items():
            part.load({w: tensors[f"{w}.{name}"] for w in STATE if f"{w}.{name}" in tensors})
        with torch.no_grad():
            for (name, live), master in zip(self._whole, self._masters, strict=True):
                master.copy_(tensors[f"master.{name}"])
                if live is not master:
                    round_into(live, master)
                if f"exp_avg.{name}" in tensors:
                    parts = (
                        tensors[f"{part}.{name}"].to(master.device, copy=True)
                        for part in _Moments._fields
                    )
                    self._moments[name] = _Moments(*parts)


def _grads(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.grad for t in tensors if t.grad is not None]
