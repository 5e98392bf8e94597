"""Matrix products of bfloat16, also where the processor cannot multiply it.

On the CPU torch then takes a loop that reaches a tenth of float32's rate. So both sides are widened
here, multiplied in float32, and the result is rounded once, which is what units for bfloat16 do as
well. A copy costs some hundredths of its product.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from burnish.kernels.numbers import torch_multiplies_bfloat16

PART = 8192
"""Rows of a head's weight that are widened at one time: a copy of it all is twice its size."""


def has_to_widen(x: Tensor) -> bool:
    """Whether products of this tensor are made in float32."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch_multiplies_bfloat16()


def factor_dtype(x: Tensor) -> torch.dtype:
    """The format of this tensor as one side of a product: float32 where it has to be."""
    return torch.float32 if has_to_widen(x) else x.dtype


def factor(x: Tensor) -> Tensor:
    """The tensor as one side of a product."""
    return x.to(factor_dtype(x))


def product(x: Float[Tensor, "... N D"], y: Float[Tensor, "... D E"]) -> Float[Tensor, "... N E"]:
    """x y, in their format."""
    return (factor(x) @ factor(y)).to(x.dtype)


def linear(x: Float[Tensor, "... D"], weight: Float[Tensor, "E D"]) -> Float[Tensor, "... E"]:
    """x W^T, in their format."""
    if not has_to_widen(x):
        return nn.functional.linear(x, weight)
    return nn.functional.linear(factor(x), factor(weight)).to(x.dtype)


def head_product(hidden: Float[Tensor, "N D"], weight: Float[Tensor, "V D"]) -> Tensor:
    """h W^T of a head, whose weight is widened in parts; in the format of factors."""
    if not has_to_widen(weight):
        return nn.functional.linear(hidden, weight)
    hidden = factor(hidden)
    out = hidden.new_empty(len(hidden), len(weight))
    for part in _parts(weight):
        torch.mm(hidden, factor(weight[part]).T, out=out[:, part])
    return out


def head_backward(slopes: Float[Tensor, "N V"], weight: Float[Tensor, "V D"]) -> Tensor:
    """The gradient of hidden states from that of logits."""
    if not has_to_widen(weight):
        return slopes @ weight
    slopes = factor(slopes)
    out = slopes.new_zeros(len(slopes), weight.shape[1])
    for part in _parts(weight):
        out.addmm_(slopes[:, part], factor(weight[part]))
    return out


def add_head_gradient(
    total: Float[Tensor, "V D"],
    slopes: Float[Tensor, "N V"],
    hidden: Float[Tensor, "N D"],
    *,
    first: bool,
) -> None:
    """Add the weight's own to a total, which is written over by the first; it may be wider."""
    if not has_to_widen(hidden) and total.dtype == slopes.dtype:
        total.addmm_(slopes.T, hidden, beta=0 if first else 1)
        return
    hidden = factor(hidden)
    for part in _parts(total):
        found = factor(slopes[:, part]).T @ hidden
        total[part] = found if first else total[part] + found


def _parts(weight: Tensor) -> Iterator[slice]:
    for start in range(0, len(weight), PART):
        yield slice(start, min(start + PART, len(weight)))


class _Linear(torch.autograd.Function):
    """x W^T + b: keeps its arguments as they are, not their copies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        wide_bias = None if bias is None else factor(bias)
        return nn.functional.linear(factor(x), factor(weight), wide_bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad = factor(grads[0])
        rows = grad.flatten(0, -2)
        return (
            (grad @ factor(weight)).to(x.dtype) if of_x else None,
            (rows.T @ factor(x.flatten(0, -2))).to(weight.dtype) if of_weight else None,
            rows.sum(0).to(weight.dtype) if of_bias else None,
        )


class WideLinear(nn.Linear):
    """A linear layer that multiplies in float32 where it has to."""

    def forward(self, input: Tensor) -> Tensor:
        if not has_to_widen(input):
            return super().forward(input)
        return _Linear.apply(  # type: ignore[no-untyped-call,no-any-return]
            input, self.weight, self.bias
        )


def widen_linears(model: nn.Module) -> None:
    """Let a model's own linear layers multiply as `linear` does, if the processor asks for it."""
    if not torch_multiplies_bfloat16():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = WideLinear
