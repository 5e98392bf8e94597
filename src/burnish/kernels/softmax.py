"""The backward pass of attention between its matrix products: probabilities and scores' gradient.

Token j of a tree sees two stretches of it: its stem, entries [0, fork_j), and its own branch up to
itself, [start_j, j]. Everything else is written as zero and never exponentiated.
"""

from typing import Any

import numpy as np
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, exp, narrow, wide


def softmax_backward(
    scores: Tensor, grad: Tensor, dots: Tensor, scale: float, first: int, forks: Tensor,
    starts: Tensor,
) -> None:  # fmt: skip
    """Write probabilities over a block's scores, and their gradient over that of probabilities.

    p = e^(scale score): what is given has the log of the normaliser subtracted already. d score =
    scale p (d p - sum p d p), and `dots` are those sums, which equal d out . out. All are `[trees,
    kv_heads, tokens, share, columns]`, `dots` without columns and of all tokens; the block's first
    token is `first`. `forks` and `starts` are int32 `[trees, longest]`.
    """
    _backward(
        array(scores), array(grad), dots.numpy(), np.float32(scale), first, forks.numpy(),
        starts.numpy(),
    )  # fmt: skip


def dots(grad: Tensor, out: Tensor, tokens: Tensor, places: Tensor, result: Tensor) -> None:
    """grad . out of each token and head of `[N, heads, size]`, as `[trees, kv_heads, longest,
    share]`: row `tokens[n]` belongs at `places[n]`."""
    _dots(array(grad), array(out), tokens.numpy(), places.numpy(), result.numpy())


@njit(inline="always")
def _zero(target: Any, fork: Any, start: Any, end: Any) -> None:
    """Nothing between the stem and the own branch, nor after the token itself."""
    for part in (target[fork:start], target[end:]):
        for c in range(len(part)):
            part[c] = narrow(np.float32(0), part)


@njit(inline="always")
def _slopes(scores: Any, slopes: Any, dot: Any, scale: Any) -> None:
    for c in range(len(scores)):
        p = exp(wide(scores[c]) * scale)
        scores[c] = narrow(p, scores)
        slopes[c] = narrow(scale * p * (wide(slopes[c]) - dot), slopes)


# Stretches are slices that count from zero: numba has to see that no index is negative, or it
# vectorises nothing.
@njit(parallel=True, fastmath=FAST, cache=True)
def _backward(
    scores: Any, grad: Any, dots: Any, scale: Any, first: Any, forks: Any, starts: Any
) -> None:
    trees, groups, tokens, share, _ = scores.shape
    for row in prange(trees * groups * tokens):
        b, g, t = row // (groups * tokens), row // tokens % groups, row % tokens
        fork, start, end = forks[b, first + t], starts[b, first + t], first + t + 1
        for r in range(share):
            score, slope, dot = scores[b, g, t, r], grad[b, g, t, r], dots[b, g, first + t, r]
            _zero(score, fork, start, end)
            _zero(slope, fork, start, end)
            _slopes(score[:fork], slope[:fork], dot, scale)
            _slopes(score[start:end], slope[start:end], dot, scale)


@njit(parallel=True, fastmath=FAST, cache=True)
def _dots(grad: Any, out: Any, tokens: Any, places: Any, result: Any) -> None:
    _, groups, longest, share = result.shape
    for n in prange(len(tokens)):
        tree, place, token = places[n] // longest, places[n] % longest, tokens[n]
        for h in range(groups * share):
            one, other, total = grad[token, h], out[token, h], np.float32(0)
            for i in range(len(one)):
                total += wide(one[i]) * wide(other[i])
            result[tree, h // share, place, h % share] = total
