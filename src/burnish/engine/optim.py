"""AdamW with float32 master weights, whatever the model computes in, and its schedules.

A bfloat16 weight near 1 moves in steps of 0.004: at the learning rates of post-training most
updates would round to nothing. Gradients of micro-batches are summed in float32 too.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from burnish import rng
from burnish.config import require
from burnish.errors import TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class Optim:
    """AdamW (Loshchilov & Hutter 2019, 1711.05101) and its schedule."""

    lr: float
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: constant, or down to `final_lr_ratio` of the peak at the last step."""
    warmup_ratio: float = 0.0
    """Share of the steps in which the rate rises linearly from zero."""
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
        require(0 <= self.final_lr_ratio <= 1, "final_lr_ratio must be in [0, 1]")
        require(self.eps > 0, "eps must be above 0")
        require(self.head_lr_ratio > 0, "head_lr_ratio must be above 0")
        require(self.max_grad_norm > 0, "max_grad_norm must be above 0")

    def lr_at(self, step: int, num_steps: int) -> float:
        """The learning rate of optimiser step `step` (from 0) of `num_steps`."""
        warmup = round(self.warmup_ratio * num_steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
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
DITHER_PERIOD = (1 << 20) + 7
"""Weights this far apart in one tensor share a threshold."""


class MasterAdamW:
    """AdamW over float32 copies of a model's trainable parameters."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], config: Optim) -> None:
        self._config = config
        self._names = [name for name, _ in named]
        self._live = [parameter for _, parameter in named]
        self._masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for p in self._live
        ]
        head = [m for n, m in zip(self._names, self._masters, strict=True) if n in HEAD_NAMES]
        rest = [m for n, m in zip(self._names, self._masters, strict=True) if n not in HEAD_NAMES]
        groups = [{"params": rest, "ratio": 1.0}, {"params": head, "ratio": config.head_lr_ratio}]
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._hooks = [
            live.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                self._collector(master)
            )
            for live, master in zip(self._live, self._masters, strict=True)
            if live is not master
        ]
        self._steps = 0

    @staticmethod
    def _collector(master: Tensor) -> Callable[[Tensor], None]:
        def collect(live: Tensor) -> None:
            assert live.grad is not None
            if master.grad is None:
                master.grad = live.grad.float()
            else:
                master.grad += live.grad
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
        grads = [m.grad for m in self._masters if m.grad is not None]
        if not grads:
            self._steps += 1
            return 0.0
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, self._config.max_grad_norm))
        if norm != norm or norm == float("inf"):
            raise TrainingError(
                f"the gradient is not finite at optimiser step {self._steps}; the last checkpoint "
                "is good: lower the learning rate, or look at that step's samples"
            )
        for group in self._adamw.param_groups:
            group["lr"] = lr * group["ratio"]
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        with torch.no_grad():
            for live, master in zip(self._live, self._masters, strict=True):
                if live is not master:
                    _round_into(live, master)
        self._steps += 1
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs, by name."""
        out: dict[str, Tensor] = {"optim.steps": torch.tensor(self._steps)}
        for name, master in zip(self._names, self._masters, strict=True):
            out[f"master.{name}"] = master
            state = self._adamw.state.get(master, {})
            for part in ("exp_avg", "exp_avg_sq", "step"):
                if part in state:
                    out[f"{part}.{name}"] = state[part]
        return out

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` saved, into the model too."""
        self._steps = int(tensors["optim.steps"])
        with torch.no_grad():
            for name, live, master in zip(self._names, self._live, self._masters, strict=True):
                master.copy_(tensors[f"master.{name}"])
                if live is not master:
                    _round_into(live, master)
                if f"exp_avg.{name}" in tensors:
                    self._adamw.state[master] = {
                        part: tensors[f"{part}.{name}"].clone()
                        for part in ("step", "exp_avg", "exp_avg_sq")
                    }

    def close(self) -> None:
        """Detach from the model."""
        for hook in self._hooks:
            hook.remove()


@functools.cache
def _thresholds() -> Tensor:
    draws = rng.stream(0, "rounding").integers(0, 1 << 16, DITHER_PERIOD, dtype=np.int32)
    return torch.from_numpy(draws)


def _round_into(live: Tensor, master: Tensor) -> None:
    """Round float32 to bfloat16, each weight up or down at its own fixed random threshold.

    Trained weights start as bfloat16 numbers. To nearest, a weight of 0.05 stays where it is until
    it has moved by 0.0001: at the learning rates of post-training a stage of some dozen steps would
    end where it began. With thresholds spread evenly, the share of weights that change is the share
    of a step they have moved, so the model follows its masters on average; and a weight that did
    not move does not change. Other formats copy.
    """
    if live.dtype != torch.bfloat16 or master.device.type != "cpu":
        live.copy_(master)
        return
    bits, out = master.view(torch.int32).view(-1), live.view(torch.int16).view(-1)
    thresholds = _thresholds()
    for start in range(0, bits.numel(), DITHER_PERIOD):
        part = bits[start : start + DITHER_PERIOD]
        raised = part + thresholds[: part.numel()]
        out[start : start + part.numel()] = raised.bitwise_right_shift_(16).to(torch.int16)
