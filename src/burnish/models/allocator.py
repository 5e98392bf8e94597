"""Memory that training frees and asks for again, kept rather than handed back."""

import contextlib
import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_NEVER = 2**31 - 1


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep large freed blocks; other C libraries are left as they are.

    By default it maps every large tensor anew and unmaps it when it is freed. The kernel then
    clears a gigabyte of pages in each optimiser step.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        library.mallopt(_MMAP_THRESHOLD, _NEVER)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
