"""silu(gate) * up (Shazeer 2020, 2002.05202) in one pass each way."""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array, exp, narrow, wide


def swiglu(gate_up: Tensor) -> Tensor:
    """gate / (1 + e^-gate) * up for rows `[N, 2 I]` that hold gate and up; gives `[N, I]`."""
    out = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
    gate_rows(array(gate_up), array(out))
    return out


def swiglu_backward(grad: Tensor, gate_up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of gate and up, and what `swiglu` gave, to the bit."""
    out, again = torch.empty_like(gate_up), torch.empty_like(grad)
    _backward(array(grad), array(gate_up), array(out), array(again))
    return out, again


@njit(parallel=True, fastmath=FAST, cache=True)
def gate_rows(gate_up: Any, out: Any) -> None:
    """The loop of `swiglu`, on arrays."""
    rows, size = out.shape
    for i in prange(rows):
        gate, up = gate_up[i, :size], gate_up[i, size:]
        for j in range(size):
            g = wide(gate[j])
            out[i, j] = narrow(g / (np.float32(1) + exp(-g)) * wide(up[j]), out)


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward(grad: Any, gate_up: Any, out: Any, again: Any) -> None:
    rows, size = grad.shape
    for i in prange(rows):
        gate, up = gate_up[i, :size], gate_up[i, size:]
        grad_gate, grad_up = out[i, :size], out[i, size:]
        for j in range(size):
            g, d = wide(gate[j]), wide(grad[i, j])
            share = np.float32(1) / (np.float32(1) + exp(-g))
            slope = share * (np.float32(1) + g * (np.float32(1) - share))
            grad_gate[j] = narrow(d * wide(up[j]) * slope, out)
            grad_up[j] = narrow(d * g * share, out)
            again[i, j] = narrow(g / (np.float32(1) + exp(-g)) * wide(up[j]), out)
