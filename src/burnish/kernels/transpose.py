"""A matrix turned over in tiles, several times faster than torch's strided copy."""

from typing import Any

import torch
from numba import njit, prange
from torch import Tensor

from burnish.kernels.numbers import FAST, array

TILE = 32
"""Rows and columns of a tile: two of them fit the first cache."""


def transposed(x: Tensor) -> Tensor:
    """x^T of a matrix, contiguous."""
    out = torch.empty(x.shape[::-1], dtype=x.dtype)
    _transpose(array(x), array(out))
    return out


@njit(parallel=True, fastmath=FAST, cache=True)
def _transpose(x: Any, out: Any) -> None:
    rows, columns = x.shape
    strips = (columns + TILE - 1) // TILE
    for strip in prange(strips):
        left, right = strip * TILE, min(strip * TILE + TILE, columns)
        for top in range(0, rows, TILE):
            tile = x[top : top + TILE, left:right]
            turned = out[left:right, top : top + TILE]
            for j in range(turned.shape[0]):
                for i in range(turned.shape[1]):
                    turned[j, i] = tile[i, j]
