"""Drawing a token from each row of logits, by the inverse of the running sum.

Masses e^((logit - largest) / temperature) are summed in blocks; the block is found first, and only
that one is summed again, token by token. Nothing is sorted but what top-p has to order.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, exp, largest, narrow, wide

BLOCK = 256


def draw(
    logits: Tensor, uniforms: Tensor, temperature: float, top_k: int, top_p: float, min_p: float
) -> tuple[Tensor, Tensor]:
    """A token for each row of `[N, V]`, and its log-probability in what it was drawn from.

    `uniforms` are float64 in [0, 1). Temperature 0 takes the likeliest token, with its
    log-probability at temperature 1.
    """
    tokens, logprobs = torch.empty(len(logits), dtype=torch.long), torch.empty(len(logits))
    if temperature == 0:
        _greedy(array(logits), tokens.numpy(), logprobs.numpy())
    else:
        _draw(
            array(logits), uniforms.numpy(), np.float32(1 / temperature), top_k, top_p,
            np.float32(min_p), tokens.numpy(), logprobs.numpy(),
        )  # fmt: skip
    return tokens, logprobs


def truncate_(
    logits: Tensor, temperature: float, top_k: int, top_p: float, min_p: float, always: Tensor
) -> None:
    """Write -inf over the logits of tokens that `draw` would not choose from.

    `always` are tokens that stay, one a row; -1: none.
    """
    _cut(
        array(logits), np.float32(1 / temperature), top_k, top_p, np.float32(min_p), always.numpy()
    )


@njit(inline="always")
def _sum(masses: Any) -> Any:
    total = np.float32(0)
    for j in range(len(masses)):
        total += masses[j]
    return total


@njit(inline="always")
def _masses(row: Any, peak: Any, inverse: Any, out: Any) -> None:
    for j in range(len(row)):
        out[j] = exp((wide(row[j]) - peak) * inverse)


@njit(parallel=True, fastmath=FAST, cache=True)
def _greedy(logits: Any, tokens: Any, logprobs: Any) -> None:
    rows, size = logits.shape
    for i in prange(rows):
        row = logits[i]
        peak, masses = largest(row), np.empty(size, np.float32)
        _masses(row, peak, np.float32(1), masses)
        tokens[i] = 0
        for j in range(size):
            if wide(row[j]) == peak:
                tokens[i] = j
                break
        logprobs[i] = -np.log(_sum(masses))


@njit(fastmath=FAST)
def _truncate(masses: Any, top_k: Any, top_p: Any, min_p: Any) -> None:
    """Masses outside the kept set become 0; the largest is 1, and stays. A NaN is left in place.

    Top-k keeps all that equal the k-th; then top-p the fewest whose share reaches p, the first of
    equals; then min-p those of at least that part of the largest.
    """
    size = len(masses)
    if 0 < top_k < size:
        floor = np.partition(masses, size - top_k)[size - top_k]
        for j in range(size):
            if masses[j] < floor:
                masses[j] = 0
    if top_p < 1:
        total = np.sum(masses.astype(np.float64))
        if np.isnan(total):
            return
        wanted = top_p * total
        # All below this together are less than what may be left out, so none of them is kept.
        least = (1 - top_p) * wanted / (top_p * size)
        candidates = np.nonzero(masses >= min(least, 1.0))[0]
        order = np.argsort(-masses[candidates], kind="mergesort")
        kept, so_far = np.zeros(size, np.bool_), 0.0
        for place in order:
            if so_far >= wanted:
                break
            kept[candidates[place]] = True
            so_far += masses[candidates[place]]
        for j in range(size):
            if not kept[j]:
                masses[j] = 0
    for j in range(size):
        if masses[j] < min_p:
            masses[j] = 0


@njit(parallel=True, fastmath=FAST, cache=True)
def _cut(logits: Any, inverse: Any, top_k: Any, top_p: Any, min_p: Any, always: Any) -> None:
    rows, size = logits.shape
    for i in prange(rows):
        row, masses = logits[i], np.empty(size, np.float32)
        _masses(row, largest(row), inverse, masses)
        _truncate(masses, top_k, top_p, min_p)
        for j in range(size):
            if masses[j] == 0 and j != always[i]:
                row[j] = narrow(np.float32(-np.inf), row)


@njit(fastmath=FAST)
def _find(masses: Any, uniform: Any) -> Any:
    """The token at which the running sum passes `uniform` of the whole, and the whole."""
    size, total = len(masses), 0.0
    blocks = (size + BLOCK - 1) // BLOCK
    sums = np.empty(blocks, np.float32)
    for b in range(blocks):
        sums[b] = _sum(masses[b * BLOCK : b * BLOCK + BLOCK])
        total += sums[b]
    wanted, before, b = uniform * total, 0.0, 0
    while b < blocks - 1 and before + sums[b] <= wanted:
        before += sums[b]
        b += 1
    end = min(b * BLOCK + BLOCK, size)
    for j in range(b * BLOCK, end):
        before += masses[j]
        if before > wanted:
            return j, total
    # Rounding has left the target a hair past the block's own sum: its last real token.
    while end > 1 and masses[end - 1] == 0:
        end -= 1
    return end - 1, total


@njit(parallel=True, fastmath=FAST, cache=True)
def _draw(
    logits: Any, uniforms: Any, inverse: Any, top_k: Any, top_p: Any, min_p: Any, tokens: Any,
    logprobs: Any,
) -> None:  # fmt: skip
    rows, size = logits.shape
    for i in prange(rows):
        masses = np.empty(size, np.float32)
        _masses(logits[i], largest(logits[i]), inverse, masses)
        if top_k > 0 or top_p < 1 or min_p > 0:
            _truncate(masses, top_k, top_p, min_p)
        token, total = _find(masses, uniforms[i])
        tokens[i] = token
        logprobs[i] = np.log(masses[token] / total)
