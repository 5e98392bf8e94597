"""Memory that training frees and asks for again, kept rather than handed back."""

import contextlib
import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""
_NEVER = 2**31 - 1


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep large freed blocks; other C libraries are left as they are.

    By default it maps every large tensor anew and unmaps it when it is freed. The kernel then
    clears a gigabyte of pages in each optimiser step. And it gives each thread blocks of its own:
    what those that read a model's files free would then be of no use to training.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        library.mallopt(_MMAP_THRESHOLD, _NEVER)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
        library.mallopt(_ARENA_MAX, 1)
