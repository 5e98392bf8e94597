"""Log-probabilities over a vocabulary: one pass over the logits each way, as they come."""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, exp, largest, narrow, wide

LEAST = np.float32(-88.0)
"""Log-probabilities below this count as this where they are multiplied by their probability, which
`exp` gives as 0: an impossible token, whose logit is -inf, adds nothing."""


def normalisers(logits: Tensor, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor]:
    """log sum exp(logits / temperature) of rows `[N, V]`, and entropies (zeros unless asked for).

    H = log Z - sum p logit / temperature.
    """
    norms, entropies = torch.empty(len(logits)), torch.zeros(len(logits))
    _forward(
        array(logits), np.float32(1 / temperature), with_entropy, norms.numpy(), entropies.numpy()
    )
    return norms, entropies


def backward_into(
    logits: Tensor, temperature: float, norms: Tensor, entropies: Tensor, targets: Tensor,
    grad_logprobs: Tensor, grad_entropies: Tensor,
) -> None:  # fmt: skip
    """Write over the logits the gradient of a loss in log-probabilities and entropies.

    (onehot - p) d logprob - p (log p + H) d entropy, over the temperature.
    """
    _backward(
        array(logits), np.float32(1 / temperature), norms.numpy(), entropies.numpy(),
        targets.numpy(), array(grad_logprobs), array(grad_entropies),
    )  # fmt: skip


@njit(parallel=True, fastmath=FAST, cache=True)
def _forward(logits: Any, inverse: Any, with_entropy: Any, norms: Any, entropies: Any) -> None:
    rows, size = logits.shape
    for i in prange(rows):
        peak = largest(logits[i])
        total, weighted = np.float32(0), np.float32(0)
        if with_entropy:
            for j in range(size):
                below = (wide(logits[i, j]) - peak) * inverse
                mass = exp(below)
                total += mass
                weighted += mass * max(below, LEAST)
            entropies[i] = np.log(total) - weighted / total
        else:
            for j in range(size):
                total += exp((wide(logits[i, j]) - peak) * inverse)
        norms[i] = peak * inverse + np.log(total)


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward(
    logits: Any, inverse: Any, norms: Any, entropies: Any, targets: Any, grads: Any, turns: Any
) -> None:
    rows, size = logits.shape
    for i in prange(rows):
        norm, entropy = norms[i], entropies[i]
        grad, turn = grads[i] * inverse, turns[i] * inverse
        hit = wide(logits[i, targets[i]]) * inverse - norm
        if turn == 0:
            for j in range(size):
                logits[i, j] = narrow(-grad * exp(wide(logits[i, j]) * inverse - norm), logits)
        else:
            for j in range(size):
                logprob = wide(logits[i, j]) * inverse - norm
                pull = grad + turn * (max(logprob, LEAST) + entropy)
                logits[i, j] = narrow(-exp(logprob) * pull, logits)
        pull = grad + turn * (max(hit, LEAST) + entropy)
        logits[i, targets[i]] = narrow(grad - exp(hit) * pull, logits)
