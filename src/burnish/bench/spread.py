"""A measurement that was taken several times: its median, and the range it fell in."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The median of `count` measurements, the least and the largest of them."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one measurement."""
        return cls(
            median=statistics.median(values), low=min(values), high=max(values), count=len(values)
        )

    def per(self, amount: float) -> "Spread":
        """Seconds as amounts a second, and back: the longest time becomes the lowest rate."""
        return Spread(
            median=amount / self.median,
            low=amount / self.high,
            high=amount / self.low,
            count=self.count,
        )


def timed(work: Callable[[], object], repeats: int) -> Spread:
    """Seconds of each of `repeats` calls, after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Spread.of(seconds)
