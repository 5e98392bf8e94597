"""Plain tables of text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from burnish.evals.stats import Interval


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with the columns aligned: the first to the left, the others too, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()


def estimate(interval: "Interval", sign: str = "") -> list[str]:
    """Two cells: the estimate, and its interval."""
    spec = f"{sign}.3f"
    low, high = format(interval.low, spec), format(interval.high, spec)
    return [format(interval.estimate, spec), f"{low} to {high}"]
