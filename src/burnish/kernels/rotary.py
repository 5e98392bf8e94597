"""Rotary positions (Su et al. 2021, 2104.09864) while heads move between two layouts.

The projections give tokens in a row, `[N, heads + 2 kv_heads, size]`: queries, keys, values.
Attention wants trees side by side, padded to one length, with the query heads that share a key head
beside each other for each token: `[trees, kv_heads, longest, share, size]`. The pair of dimensions
(i, i + size / 2) turns by the position's angle; `cos` and `sin` are `[N, size]`.
"""

from typing import Any

from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, narrow, wide


def turn(x: Tensor, heads: int, angles: tuple[Tensor, Tensor]) -> None:
    """Turn the first heads where they are."""
    _turn_all(array(x), heads, array(angles[0]), array(angles[1]))


def to_trees(
    x: Tensor, first: int, angles: tuple[Tensor, Tensor] | None, tokens: Tensor, places: Tensor,
    out: Tensor,
) -> None:  # fmt: skip
    """Copy the heads from `first` on, as many as `out` has, turned if there are angles.

    Row `tokens[n]` of `x` belongs at `places[n]` = tree * longest + position in the tree.
    """
    cos, sin = angles if angles is not None else (x[:0, 0], x[:0, 0])
    _to_trees(array(x), first, array(cos), array(sin), tokens.numpy(), places.numpy(), array(out))


def from_trees(
    x: Tensor, angles: tuple[Tensor, Tensor] | None, tokens: Tensor, places: Tensor, out: Tensor,
    first: int,
) -> None:  # fmt: skip
    """The way back, turned back if there are angles, into the heads of `out` from `first` on."""
    cos, sin = angles if angles is not None else (out[:0, 0], out[:0, 0])
    _from_trees(array(x), array(cos), array(sin), tokens.numpy(), places.numpy(), array(out), first)


@njit(inline="always")
def _turn(row: Any, cos: Any, sin: Any, out: Any) -> None:
    half = len(row) // 2
    for i in range(half):
        low, high = wide(row[i]), wide(row[i + half])
        out[i] = narrow(low * wide(cos[i]) - high * wide(sin[i]), out)
        out[i + half] = narrow(high * wide(cos[i + half]) + low * wide(sin[i + half]), out)


@njit(parallel=True, fastmath=FAST, cache=True)
def _turn_all(x: Any, heads: Any, cos: Any, sin: Any) -> None:
    for n in prange(len(x)):
        for h in range(heads):
            _turn(x[n, h], cos[n], sin[n], x[n, h])


@njit(inline="always")
def _turn_back(row: Any, cos: Any, sin: Any, out: Any) -> None:
    """The transpose of `_turn`: what a gradient goes through."""
    half = len(row) // 2
    for i in range(half):
        low, high = wide(row[i]), wide(row[i + half])
        out[i] = narrow(low * wide(cos[i]) + high * wide(sin[i + half]), out)
        out[i + half] = narrow(high * wide(cos[i + half]) - low * wide(sin[i]), out)


@njit(inline="always")
def _copy(row: Any, out: Any) -> None:
    for i in range(len(row)):
        out[i] = narrow(wide(row[i]), out)


@njit(parallel=True, fastmath=FAST, cache=True)
def _to_trees(x: Any, first: Any, cos: Any, sin: Any, tokens: Any, places: Any, out: Any) -> None:
    _, groups, longest, share, _ = out.shape
    for n in prange(len(tokens)):
        tree, place, token = places[n] // longest, places[n] % longest, tokens[n]
        for h in range(groups * share):
            source, target = x[token, first + h], out[tree, h // share, place, h % share]
            if len(cos):
                _turn(source, cos[token], sin[token], target)
            else:
                _copy(source, target)


@njit(parallel=True, fastmath=FAST, cache=True)
def _from_trees(x: Any, cos: Any, sin: Any, tokens: Any, places: Any, out: Any, first: Any) -> None:
    _, groups, longest, share, _ = x.shape
    for n in prange(len(tokens)):
        tree, place, token = places[n] // longest, places[n] % longest, tokens[n]
        for h in range(groups * share):
            source, target = x[tree, h // share, place, h % share], out[token, first + h]
            if len(cos):
                _turn_back(source, cos[token], sin[token], target)
            else:
                _copy(source, target)
