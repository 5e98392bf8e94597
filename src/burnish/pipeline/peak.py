"""The most memory that a process held within a span of it, for comparing plans with what was.

Linux tells, and lets a process begin anew. Elsewhere there is the peak of the whole process, which
says nothing of a stage that followed a larger one: there nothing is recorded.
"""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"
"""See proc(5), clear_refs."""


class PeakMemory:
    """The most memory held by this process since it was made, in bytes; None: the system does not
    say."""

    def __init__(self) -> None:
        self._counts = False
        # What was freed and kept for the next tensor (see `models.allocator`) would count as held.
        gc.collect()
        hand_back_freed_memory()
        with suppress(OSError):
            _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
            self._counts = True

    def bytes(self) -> int | None:
        """Since the beginning."""
        return _status("VmHWM") if self._counts else None


def resident_bytes() -> int | None:
    """What this process holds now."""
    return _status("VmRSS")


def hand_back_freed_memory() -> None:
    """Have glibc return what it keeps of freed memory; other C libraries are left alone."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int | None:
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, rest = line.partition(":")
            if name == field:
                return int(rest.split()[0]) * 1024
    return None
