"""What a run says while it works: bars on a terminal, plain lines elsewhere, nothing in tests."""

from typing import Protocol


class Progress(Protocol):
    """Progress of one loop inside a stage."""

    def update(self, done: int, text: str = "") -> None:
        """`done` units so far in all; `text` is a short remark, such as the loss."""
        ...


class Reporter(Protocol):
    """Where progress is shown."""

    def task(self, total: int, unit: str) -> Progress: ...


class Silent:
    """Shows nothing."""

    def task(self, total: int, unit: str) -> Progress:
        return self

    def update(self, done: int, text: str = "") -> None:
        return None
