"""RMS norm (Zhang & Sennrich 2019, 1910.07467), and the sum before it, in one pass each way."""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, narrow, wide

CHUNKS = 32
"""Parts that the weight's gradient is summed in. Not the number of threads: sums must not depend
on the machine's."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean x^2 + eps) * weight for rows `[N, D]`, and the factors `[N]` in float32."""
    out, factors = torch.empty_like(x), torch.empty(len(x))
    norm_rows(array(x), array(weight), np.float32(eps), array(out), factors.numpy())
    return out, factors


def add_rms_norm(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The sum x + y, its norm, and the factors."""
    total, out, factors = torch.empty_like(x), torch.empty_like(x), torch.empty(len(x))
    add_norm_rows(
        array(x), array(y), array(weight), np.float32(eps), array(total), array(out),
        factors.numpy(),
    )  # fmt: skip
    return total, out, factors


def rms_norm_again(x: Tensor, weight: Tensor, factors: Tensor) -> Tensor:
    """What `rms_norm` gave, to the bit, by its factors."""
    out = torch.empty_like(x)
    _scale(array(x), array(weight), factors.numpy(), array(out))
    return out


def rms_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, factors: Tensor, beside: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the weight; `beside` is what x gets in other ways, and is added."""
    grad_x, parts = torch.empty_like(x), torch.zeros(CHUNKS, x.shape[1])
    _backward(
        array(grad), array(x), array(weight), factors.numpy(), array(beside), array(grad_x),
        parts.numpy(),
    )  # fmt: skip
    return grad_x, parts.sum(0).to(weight.dtype)


@njit(inline="always")
def _scaled(x: Any, weight: Any, factor: Any, out: Any) -> None:
    for j in range(len(x)):
        out[j] = narrow(wide(x[j]) * factor * wide(weight[j]), out)


@njit(inline="always")
def _normed(x: Any, weight: Any, eps: Any, out: Any) -> Any:
    total = np.float32(0)
    for j in range(len(x)):
        value = wide(x[j])
        total += value * value
    factor = np.float32(1) / np.sqrt(total / np.float32(len(x)) + eps)
    _scaled(x, weight, factor, out)
    return factor


@njit(parallel=True, fastmath=FAST, cache=True)
def norm_rows(x: Any, weight: Any, eps: Any, out: Any, factors: Any) -> None:
    """The loop of `rms_norm`, on arrays."""
    for i in prange(len(x)):
        factors[i] = _normed(x[i], weight, eps, out[i])


@njit(parallel=True, fastmath=FAST, cache=True)
def add_norm_rows(
    x: Any, y: Any, weight: Any, eps: Any, total: Any, out: Any, factors: Any
) -> None:
    """The loop of `add_rms_norm`, on arrays."""
    for i in prange(len(x)):
        for j in range(x.shape[1]):
            total[i, j] = narrow(wide(x[i, j]) + wide(y[i, j]), total)
        factors[i] = _normed(total[i], weight, eps, out[i])


@njit(parallel=True, fastmath=FAST, cache=True)
def _scale(x: Any, weight: Any, factors: Any, out: Any) -> None:
    for i in prange(len(x)):
        _scaled(x[i], weight, factors[i], out[i])


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward(
    grad: Any, x: Any, weight: Any, factors: Any, beside: Any, grad_x: Any, parts: Any
) -> None:
    rows, size = x.shape
    chunks = parts.shape[0]
    for c in prange(chunks):
        for i in range(rows * c // chunks, rows * (c + 1) // chunks):
            factor, dot = factors[i], np.float32(0)
            for j in range(size):
                g, value = wide(grad[i, j]), wide(x[i, j])
                dot += g * wide(weight[j]) * value
                parts[c, j] += g * value * factor
            pull = dot * factor * factor / np.float32(size)
            for j in range(size):
                slope = factor * (wide(grad[i, j]) * wide(weight[j]) - wide(x[i, j]) * pull)
                grad_x[i, j] = narrow(slope + wide(beside[i, j]), grad_x)
