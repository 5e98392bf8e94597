"""A decoding step's attention: one new token a row, over the keys and values stored before it.

What it reads is far larger than the caches, and each row's part too short for the processor to see
where it goes on: so a row's values are asked for while its keys are multiplied, and the next row's
keys while its values are.
"""

from typing import Any

import numpy as np
from numba import njit, prange
from torch import Tensor

from burnish.kernels.heads import NARROW, add_four, four_dots
from burnish.kernels.numbers import FAST, array, exp, largest, narrow, prefetch, wide

LINE = 32
"""Numbers of a cache line, in bfloat16."""


def decode(
    qkv: Tensor, angles: tuple[Tensor, Tensor] | None, keys: Tensor, values: Tensor,
    positions: Tensor, scale: float, out: Tensor,
) -> None:  # fmt: skip
    """Store each row's new key and value at its position, and attend to all up to it.

    `qkv` is `[rows, heads + 2 kv_heads, size]`, not yet turned if there are angles (`[rows, size]`
    each); `keys` and `values` are `[slots, kv_heads, capacity, size]`, row n in slot n; `out` is
    `[rows, heads, size]`. Four has to divide `size`.
    """
    assert out.shape[2] % NARROW == 0, "the last numbers of a head would be left out"
    cos, sin = angles if angles is not None else (qkv[:0, 0], qkv[:0, 0])
    decode_rows(
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
def _dot(query: Any, entry: Any) -> Any:
    total = np.float32(0)
    for i in range(len(query)):
        total += query[i] * wide(entry[i])
    return total


@njit(inline="always")
def _scores(
    queries: Any, keys: Any, scale: Any, scores: Any, following: Any, start: Any
) -> None:  # fmt: skip
    """All queries against four keys at a time: a query's numbers are read once for them.

    Meanwhile as much of `following` is fetched, from `start` on.
    """
    length, size = scores.shape[1], queries.shape[1]
    for quad in range(length // 4):
        c = 4 * quad
        for line in range(start + c * size, start + (c + 4) * size, LINE):
            prefetch(following, line)
        four_dots(queries, keys, c, scale, scores)
    for c in range(length // 4 * 4, length):
        for r in range(len(queries)):
            scores[r, c] = _dot(queries[r], keys[c]) * scale


@njit(inline="always")
def _softmax(row: Any) -> None:
    peak, total = largest(row), np.float32(0)
    for c in range(len(row)):
        row[c] = exp(row[c] - peak)
        total += row[c]
    for c in range(len(row)):
        row[c] /= total


@njit(inline="always")
def _mixed(weights: Any, values: Any, out: Any, following: Any, start: Any, end: Any) -> None:
    """weights @ values, four values at a time; meanwhile fetches as `_scores` does, up to `end`."""
    length, size = weights.shape[1], out.shape[1]
    for r in range(len(weights)):
        out[r, :] = np.float32(0)
    for quad in range(length // 4):
        c = 4 * quad
        for line in range(start + c * size, min(start + (c + 4) * size, end), LINE):
            prefetch(following, line)
        add_four(weights, values, c, out)
    for c in range(length // 4 * 4, length):
        value = values[c]
        for r in range(len(weights)):
            target, weight = out[r], weights[r, c]
            for i in range(len(target)):
                target[i] += weight * wide(value[i])


@njit(parallel=True, fastmath=FAST, cache=True)
def decode_rows(
    qkv: Any, cos: Any, sin: Any, keys: Any, values: Any, positions: Any, scale: Any, out: Any
) -> None:
    """The loop of `decode`, on arrays."""
    rows, heads, size = out.shape
    groups = keys.shape[1]
    share, slot = heads // groups, keys.shape[2] * size
    all_keys, all_values = keys.reshape(-1), values.reshape(-1)
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
        _scores(queries, key, scale, scores, all_values, item * slot)
        for r in range(share):
            _softmax(scores[r])
        # Not past what is stored: to ask for a page that was never written takes longest of all.
        ahead = min(item + 1, rows * groups - 1)
        start, stored = ahead * slot, positions[ahead // groups] + 1
        _mixed(scores, value, mixed, all_keys, start, start + stored * size)
        for r in range(share):
            for i in range(size):
                out[n, g * share + r, i] = narrow(mixed[r, i], out)
