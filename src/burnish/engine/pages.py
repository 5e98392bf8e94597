"""Memory mapped for numbers that live as long as their training, apart from what a step frees.

Moments are first asked for between two steps, and then lie in what the first one's passing tensors
left: the next find room in pieces. And freed heap stays with the process, where this goes back.
"""

import mmap
import sys

import numpy as np
import torch
from torch import Tensor

_ALIGNED = 64
"""Bytes between the starts of tensors: a line of the cache."""


def room(like: Tensor) -> int:
    """Bytes that a tensor of its shape takes of `Pages`."""
    return -(-like.numel() * torch.float32.itemsize // _ALIGNED) * _ALIGNED


class Pages:
    """Room for float32 tensors, handed out from the front; the system has it back once they are all
    gone."""

    def __init__(self, num_bytes: int) -> None:
        """Nothing is mapped before the first tensor is asked for."""
        self._num_bytes = num_bytes
        self._bytes: np.ndarray[tuple[int], np.dtype[np.uint8]] | None = None
        self._taken = 0

    def take(self, like: Tensor) -> Tensor:
        """Zeros in float32, in the shape of `like`; room that is left over is no error, less is."""
        if self._bytes is None:
            self._bytes = np.frombuffer(_mapped(self._num_bytes), np.uint8)
        start, size = self._taken, like.numel() * torch.float32.itemsize
        self._taken += room(like)
        assert self._taken <= self._num_bytes, "made too small"
        found = self._bytes[start : start + size].view(np.float32)
        return torch.from_numpy(found).view(like.shape)


def _mapped(num_bytes: int) -> mmap.mmap:
    """Zeros, in large pages where the system offers them. Not shared with processes that fork."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    found = mmap.mmap(-1, max(num_bytes, 1), flags=flags)
    if sys.platform == "linux":
        found.madvise(mmap.MADV_HUGEPAGE)
    return found
