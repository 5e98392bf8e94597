"""A decoding step's attention: one new token a row, over the keys and values stored before it."""

from typing import Any

import numpy as np
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, exp, largest, narrow, wide


def decode(
    qkv: Tensor, angles: tuple[Tensor, Tensor] | None, keys: Tensor, values: Tensor,
    positions: Tensor, scale: float, out: Tensor,
) -> None:  # fmt: skip
    """Store each row's new key and value at its position, and attend to all up to it.

    `qkv` is `[rows, heads + 2 kv_heads, size]`, not yet turned if there are angles (`[rows, size]`
    each); `keys` and `values` are `[slots, kv_heads, capacity, size]`, row n in slot n; `out` is
    `[rows, heads, size]`.
    """
    cos, sin = angles if angles is not None else (qkv[:0, 0], qkv[:0, 0])
    _decode(
        array(qkv), array(cos), array(sin), array(keys), array(values), positions.numpy(),
        np.float32(scale), array(out),
    )  # fmt: skip


@njit(inline="always")
def _turned(row: Any, cos: Any, sin: Any, n: Any, out: Any) -> None:
    """A head in float32, turned by the angles of row n if there are any."""
    half = len(row) // 2
    if len(cos):
        for i in range(half):
            low, high = wide(row[i]), wide(row[i + half])
            out[i] = low * wide(cos[n, i]) - high * wide(sin[n, i])
            out[i + half] = high * wide(cos[n, i + half]) + low * wide(sin[n, i + half])
    else:
        for i in range(2 * half):
            out[i] = wide(row[i])


@njit(inline="always")
def _scores(queries: Any, keys: Any, scale: Any, scores: Any, entry: Any) -> None:
    """All queries against a key at a time, which is widened once."""
    for c in range(scores.shape[1]):
        for i in range(len(entry)):
            entry[i] = wide(keys[c, i])
        for r in range(len(queries)):
            query, dot = queries[r], np.float32(0)
            for i in range(len(entry)):
                dot += query[i] * entry[i]
            scores[r, c] = dot * scale


@njit(inline="always")
def _mixed(scores: Any, values: Any, out: Any, entry: Any) -> None:
    """softmax(scores) @ values."""
    for r in range(len(scores)):
        row = scores[r]
        peak, total = largest(row), np.float32(0)
        for c in range(len(row)):
            row[c] = exp(row[c] - peak)
            total += row[c]
        for c in range(len(row)):
            row[c] /= total
    out[:] = np.float32(0)
    for c in range(scores.shape[1]):
        for i in range(len(entry)):
            entry[i] = wide(values[c, i])
        for r in range(len(scores)):
            target, weight = out[r], scores[r, c]
            for i in range(len(entry)):
                target[i] += weight * entry[i]


@njit(parallel=True, fastmath=FAST, cache=True)
def _decode(
    qkv: Any, cos: Any, sin: Any, keys: Any, values: Any, positions: Any, scale: Any, out: Any
) -> None:
    rows, heads, size = out.shape
    groups = keys.shape[1]
    share = heads // groups
    for item in prange(rows * groups):
        n, g = item // groups, item % groups
        length = positions[n] + 1
        key, value = keys[n, g], values[n, g]
        queries, mixed = np.empty((share, size), np.float32), np.empty((share, size), np.float32)
        scores, entry = np.empty((share, length), np.float32), np.empty(size, np.float32)
        _turned(qkv[n, heads + g], cos, sin, n, entry)
        for i in range(size):
            key[length - 1, i] = narrow(entry[i], keys)
            value[length - 1, i] = qkv[n, heads + groups + g, i]
        for r in range(share):
            _turned(qkv[n, g * share + r], cos, sin, n, queries[r])
        _scores(queries, key, scale, scores, entry)
        _mixed(scores, value, mixed, entry)
        for r in range(share):
            for i in range(size):
                out[n, g * share + r, i] = narrow(mixed[r, i], out)
