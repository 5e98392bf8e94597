"""A whole decoder layer of one decoding step, in one call.

A step of some tens of rows spends microseconds in a loop, and as long again on the way into it from
Python: a layer is nine loops. They are the same ones as outside (`norm`, `product`, `decode`,
`swiglu`), in the same order, so that a row comes out with the same bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from burnish.kernels.decode import decode_rows
from burnish.kernels.norm import add_norm_rows, norm_rows
from burnish.kernels.product import Panels, multiply
from burnish.kernels.swiglu import gate_rows


@dataclass(frozen=True, slots=True)
class Weights:
    """What a layer multiplies by, bfloat16 as its bits."""

    first_norm: Any
    qkv: Panels
    o: Panels
    second_norm: Any
    gate_up: Panels
    down: Panels
    first_eps: float
    second_eps: float
    scale: float
    """Of queries times keys."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the new tokens are: `[rows, size]` cosines and sines, `[rows]` positions."""

    cos: Any
    sin: Any
    positions: Any


def decoder_layer(
    x: Any, y: Any | None, weights: Weights, place: Place, keys: Any, values: Any
) -> tuple[Any, Any]:
    """The residual stream and what is to be added to it, `[rows, D]` each, after a layer.

    Takes the same two of the layer before; `y` is None before the first. Keys and values of the
    new tokens are stored, as `decode` does.
    """
    total, out = np.empty_like(x), np.empty_like(x)
    _layer(
        x, x[:0] if y is None else y, weights.first_norm, weights.qkv.numbers, weights.o.numbers,
        weights.second_norm, weights.gate_up.numbers, weights.down.numbers,
        np.float32(weights.first_eps), np.float32(weights.second_eps), weights.qkv.outputs,
        weights.gate_up.outputs, place.cos, place.sin, keys, values, place.positions,
        np.float32(weights.scale), total, out,
    )  # fmt: skip
    return total, out


@njit(cache=True)
def _layer(
    x: Any, y: Any, first_norm: Any, qkv: Any, o: Any, second_norm: Any, gate_up: Any, down: Any,
    first_eps: Any, second_eps: Any, heads: Any, halves: Any, cos: Any, sin: Any, keys: Any,
    values: Any, positions: Any, scale: Any, total: Any, out: Any,
) -> None:  # fmt: skip
    rows, size = len(x), keys.shape[3]
    normed, factors = np.empty_like(x), np.empty(rows, np.float32)
    summed = x
    if len(y):
        summed = np.empty_like(x)
        add_norm_rows(x, y, first_norm, first_eps, summed, normed, factors)
    else:
        norm_rows(x, first_norm, first_eps, normed, factors)
    joined = np.empty((rows, heads), x.dtype)
    multiply(normed, qkv, joined)
    joined = joined.reshape(rows, heads // size, size)
    mixed = np.empty((rows, heads // size - 2 * keys.shape[1], size), x.dtype)
    decode_rows(joined, cos, sin, keys, values, positions, scale, mixed)
    attended = np.empty_like(x)
    multiply(mixed.reshape(rows, -1), o, attended)
    add_norm_rows(summed, attended, second_norm, second_eps, total, normed, factors)
    both = np.empty((rows, halves), x.dtype)
    multiply(normed, gate_up, both)
    gated = np.empty((rows, halves // 2), x.dtype)
    gate_rows(both, gated)
    multiply(gated, down, out)
