"""The order in which training sees rows: a function of the seed and the position alone.

So a run resumes from its step number, without any cursor to save.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from burnish import rng
from burnish.errors import ConfigError


class Draw(NamedTuple):
    """Row `row` of source `source`, in the source's pass `epoch` over its rows."""

    source: int
    row: int
    epoch: int


@lru_cache(maxsize=64)
def _order(num_rows: int, seed: int, epoch: int, source: int) -> tuple[int, ...]:
    """The permutation of one pass over the rows of a source."""
    permutation = rng.stream(seed, "order", source, epoch).permutation(num_rows)
    return tuple(int(i) for i in permutation)


def weighted(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, first: int, count: int
) -> list[Draw]:
    """Draws number `first` to `first + count - 1` of a mixture of sources.

    Sources take turns evenly: after any n draws, source s has had n * weight to within the number
    of sources. Each is passed over in permuted epochs, so none repeats a row before all were seen.
    For a step of B rows: `first=step * B, count=B`.

    Raises:
        ConfigError: sizes and weights differ in number, or are not positive.
    """
    if len(sizes) != len(weights) or not sizes:
        raise ConfigError(f"weights: {len(weights)} given for {len(sizes)} sources")
    if any(not math.isfinite(w) or w <= 0 for w in weights) or any(n < 1 for n in sizes):
        raise ConfigError("weights must be positive and finite, and every source must have rows")
    total = math.fsum(weights)
    shares = [w / total for w in weights]
    # Draw k of source s happens at time (k + offset_s) / share_s; the mixture is the order in time.
    offsets = [rng.key(seed, "mixture", s) / float(1 << 63) for s in range(len(sizes))]
    # At time t there were t draws to within the number of sources, so this start is early enough.
    start = max(0, first - 2 * len(sizes))
    taken = [
        max(0, math.ceil(start * share - offset))
        for share, offset in zip(shares, offsets, strict=True)
    ]
    draws: list[Draw] = []
    for position in range(sum(taken), first + count):
        source = min(range(len(sizes)), key=lambda s: ((taken[s] + offsets[s]) / shares[s], s))
        epoch, index = divmod(taken[source], sizes[source])
        taken[source] += 1
        if position >= first:
            row = _order(sizes[source], seed, epoch, source)[index]
            draws.append(Draw(source, row, epoch))
    return draws
