"""How float32 masters are rounded to bfloat16 weights; and a parameter on the CPU with what AdamW
needs of it, in 12 bytes a weight beside its own.

Trained weights start as bfloat16 numbers. Rounded to nearest, a weight of 0.05 stays where it is
until it has moved by 0.0001: at the learning rates of post-training a stage of some dozen steps
would end where it began. So each weight has a fixed random threshold at which it is rounded up.
With thresholds spread evenly, the share of weights that change is the share of a step they have
moved: the model follows its masters on average, and a weight that did not move does not change.
"""

import functools
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from burnish import rng
from burnish.engine.pages import Pages
from burnish.kernels import adamw
from burnish.kernels.numbers import follow_torch_threads

if TYPE_CHECKING:
    from burnish.engine.optim import Optim

PERIOD = (1 << 20) + 7
"""Weights this far apart in one tensor share a threshold."""
PART = 16 * PERIOD
"""Weights that are rounded at one time where no compiled loop does it."""
STATE = ("master", "exp_avg", "exp_avg_sq", "step")


@functools.cache
def thresholds() -> Tensor:
    """A threshold in [0, 65536) for each weight of a period, as uint16."""
    draws = rng.stream(0, "rounding").integers(0, 1 << 16, PERIOD, dtype=np.int32)
    return torch.from_numpy(draws.astype(np.uint16))


@functools.cache
def _thresholds_on(device: torch.device) -> Tensor:
    return thresholds().to(torch.int32).to(device)


def round_into(live: Tensor, master: Tensor) -> None:
    """Round a float32 master into its weight: to bfloat16 by the thresholds, to the bit as the
    compiled loops do; other formats copy."""
    if live.dtype != torch.bfloat16 or not live.is_contiguous():
        live.copy_(master)
        return
    limits, size = _thresholds_on(live.device), live.numel()
    bits, weights = master.view(torch.int32).view(-1), live.view(torch.int16).view(-1)
    whole = size - size % PERIOD
    for start in range(0, whole, PART):
        part = slice(start, min(start + PART, whole))
        weights[part] = ((bits[part].view(-1, PERIOD) + limits) >> 16).view(-1)
    weights[whole:] = (bits[whole:] + limits[: size - whole]) >> 16


def dense_grad(live: Tensor) -> Tensor:
    """A parameter's gradient; that of embeddings may have come sparse."""
    assert live.grad is not None
    return live.grad.to_dense() if live.grad.is_sparse else live.grad


def _add(total: Tensor, grad: Tensor) -> None:
    """Add a bfloat16 gradient, in parts: torch copies all that it adds to float32 first."""
    if grad.is_sparse:
        total.index_add_(0, grad._indices()[0], grad._values().float())
        return
    flat, other = total.view(-1), grad.reshape(-1)
    for start in range(0, flat.numel(), PERIOD):
        flat[start : start + PERIOD] += other[start : start + PERIOD]


class SplitMaster:
    """A parameter, the lower bits of its master, its moments, and the gradient of a step."""

    def __init__(self, live: nn.Parameter, pages: Pages) -> None:
        """The pages have room for two moments."""
        self._live = live
        self._rest = torch.zeros(live.shape, dtype=torch.uint16)
        self._moments: tuple[Tensor, Tensor] | None = None
        self._pages = pages
        self._count = 0
        self.grad: Tensor | None = None
        # The parameter holds the hook, out of sight of Python's collector of cycles: were the hook
        # to hold this, neither would ever be freed.
        owner = weakref.ref(self)

        def collect(live: Tensor) -> None:
            if (found := owner()) is not None:
                found._collect(live)

        live.register_post_accumulate_grad_hook(collect)  # type: ignore[no-untyped-call]

    @staticmethod
    def fits(parameter: Tensor) -> bool:
        """Whether a parameter can be kept like this."""
        return (
            parameter.dtype == torch.bfloat16
            and parameter.device.type == "cpu"
            and parameter.is_contiguous()
        )

    def _collect(self, live: Tensor) -> None:
        """The gradient of one slice stays bfloat16; those of several are summed in float32."""
        assert live.grad is not None
        if self.grad is None:
            self.grad = dense_grad(live)
        else:
            if self.grad.dtype != torch.float32:
                self.grad = self.grad.to(torch.float32, memory_format=torch.contiguous_format)
            _add(self.grad, live.grad)
        live.grad = None

    def sum_of_squares(self) -> float:
        """Of the gradient."""
        assert self.grad is not None
        follow_torch_threads()
        self.grad = self.grad.contiguous()
        return adamw.sum_of_squares(self.grad)

    def step(self, config: "Optim", lr: float, scale: float) -> None:
        """One AdamW step with the gradient times `scale`, which is then forgotten."""
        assert self.grad is not None
        if self._moments is None:
            self._moments = self._zero_moments()
        self._count += 1
        adamw.step(
            self._live, self._rest, *self._moments, self.grad, thresholds(), lr=lr,
            beta1=config.beta1, beta2=config.beta2, eps=config.eps,
            weight_decay=config.weight_decay, count=self._count, scale=scale,
        )  # fmt: skip
        self.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """What a resume needs: the master in float32, and the moments once there are any."""
        out = {"master": adamw.masters(self._live, self._rest, thresholds())}
        if self._moments is not None:
            steps = torch.tensor(float(self._count))
            out |= {"exp_avg": self._moments[0], "exp_avg_sq": self._moments[1], "step": steps}
        return out

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave, into the parameter too."""
        adamw.set_masters(self._live, self._rest, thresholds(), tensors["master"])
        if "exp_avg" in tensors:
            if self._moments is None:
                self._moments = self._zero_moments()
            for moment, name in zip(self._moments, ("exp_avg", "exp_avg_sq"), strict=True):
                moment.copy_(tensors[name])
            self._count = int(tensors["step"])

    def _zero_moments(self) -> tuple[Tensor, Tensor]:
        return self._pages.take(self._live), self._pages.take(self._live)
