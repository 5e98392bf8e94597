"""AdamW (Loshchilov & Hutter 2019, 1711.05101) on bfloat16 weights, in one pass.

A master is its weight's 16 bits and 16 more. The weight is the master rounded up or down at a fixed
threshold of its own, and whether it went up follows from the lower bits and the threshold: so the
master is had again to the bit, and no float32 copy of the weights is held.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, bits_of_float, float_of_bits, wide

STRIP = 1 << 14
"""Weights of one task."""


def step(
    live: Tensor, rest: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, grad: Tensor,
    thresholds: Tensor, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
    count: int, scale: float,
) -> None:  # fmt: skip
    """One step, the `count`-th, with the gradient times `scale`.

    `live` is bfloat16 and `rest`, the masters' lower bits, uint16; the moments are float32, the
    gradient either. `thresholds` are uint16: the n-th weight has the one at n modulo their number.
    """
    settings = np.array(
        [
            1 - lr * weight_decay, 1 - beta1, beta2, 1 - beta2, eps, lr / (1 - beta1**count),
            1 / np.sqrt(1 - beta2**count), scale,
        ],
        np.float32,
    )  # fmt: skip
    flat = (array(x).reshape(-1) for x in (live, rest, exp_avg, exp_avg_sq, grad))
    _step(*flat, thresholds.numpy(), settings)


def masters(live: Tensor, rest: Tensor, thresholds: Tensor) -> Tensor:
    """The masters in float32."""
    out = torch.empty(live.shape)
    _masters(array(live).reshape(-1), array(rest).reshape(-1), thresholds.numpy(),
             array(out).reshape(-1))  # fmt: skip
    return out


def set_masters(live: Tensor, rest: Tensor, thresholds: Tensor, given: Tensor) -> None:
    """Make `given` the masters, and round them into the weights."""
    _set(array(live).reshape(-1), array(rest).reshape(-1), thresholds.numpy(),
         array(given.contiguous()).reshape(-1))  # fmt: skip


def sum_of_squares(grad: Tensor) -> float:
    """Of all entries, strips in float32 and their sum in float64."""
    parts = np.empty(-(-grad.numel() // STRIP), np.float32)
    _squares(array(grad).reshape(-1), parts)
    return float(parts.sum(dtype=np.float64))


@njit(inline="always")
def _master(weight: Any, rest: Any, threshold: Any) -> Any:
    carry = (np.uint32(rest) + np.uint32(threshold)) >> np.uint32(16)
    return float_of_bits(((np.uint32(weight) - carry) << np.uint32(16)) | np.uint32(rest))


@njit(inline="always")
def _rounded(master: Any, threshold: Any) -> Any:
    """The weight that a master rounds to."""
    return np.uint16((bits_of_float(master) + np.uint32(threshold)) >> np.uint32(16))


@njit(inline="always")
def _lower(master: Any) -> Any:
    return np.uint16(bits_of_float(master) & np.uint32(0xFFFF))


@njit(inline="always")
def _runs(first: Any, last: Any, period: Any) -> Any:
    """(start, end, index of the first threshold) of the runs that share no wrap-around."""
    found = []
    while first < last:
        end = min(last, first - first % period + period)
        found.append((first, end, first % period))
        first = end
    return found


@njit(parallel=True, fastmath=FAST, cache=True)
def _step(
    live: Any, rest: Any, exp_avg: Any, exp_avg_sq: Any, grad: Any, thresholds: Any, settings: Any
) -> None:
    # 1 - beta comes in: taken from a beta in float32 it would be wrong by 6e-8 / (1 - beta).
    decay, new, beta2, new_square, eps, rate, debias, scale = settings
    size = len(live)
    for strip in prange((size + STRIP - 1) // STRIP):
        for start, end, place in _runs(
            strip * STRIP, min(strip * STRIP + STRIP, size), len(thresholds)
        ):
            weights, lower, limits = live[start:end], rest[start:end], thresholds[place:]
            means, squares, slopes = exp_avg[start:end], exp_avg_sq[start:end], grad[start:end]
            for i in range(len(weights)):
                g = wide(slopes[i]) * scale
                mean = means[i] + (g - means[i]) * new
                square = squares[i] * beta2 + g * g * new_square
                means[i], squares[i] = mean, square
                master = _master(weights[i], lower[i], limits[i]) * decay
                master -= rate * mean / (np.sqrt(square) * debias + eps)
                weights[i], lower[i] = _rounded(master, limits[i]), _lower(master)


@njit(parallel=True, cache=True)
def _masters(live: Any, rest: Any, thresholds: Any, out: Any) -> None:
    for i in prange(len(live)):
        out[i] = _master(live[i], rest[i], thresholds[i % len(thresholds)])


@njit(parallel=True, cache=True)
def _set(live: Any, rest: Any, thresholds: Any, given: Any) -> None:
    for i in prange(len(live)):
        live[i] = _rounded(given[i], thresholds[i % len(thresholds)])
        rest[i] = _lower(given[i])


@njit(parallel=True, fastmath=FAST, cache=True)
def _squares(grad: Any, parts: Any) -> None:
    for strip in prange(len(parts)):
        part, total = grad[strip * STRIP : strip * STRIP + STRIP], np.float32(0)
        for i in range(len(part)):
            value = wide(part[i])
            total += value * value
        parts[strip] = total
