"""SIGTERM and SIGINT as a question that loops ask; a second signal ends the process at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Calling it says whether the run was asked to stop; `signal_number` says by which signal."""

    def __init__(self) -> None:
        self.signal_number: int = signal.SIGTERM
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def ask(self, signal_number: int, frame: FrameType | None) -> None:
        """The handler: remember, and let the next signal have its usual effect."""
        self._asked, self.signal_number = True, signal_number
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Handle both signals inside the block (the main thread only: others get none)."""
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, stopping.ask)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
