"""Packing rows of different lengths into bins of a token budget, without cutting any.

For the micro-batches of one optimiser step see `burnish.models.policy.micro_batches`.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

from burnish.errors import ConfigError


def pack(lengths: Sequence[int], budget_tokens: int) -> list[list[int]]:
    """Indices of rows in bins of at most `budget_tokens`, by best fit, longest rows first.

    A row longer than the budget has a bin of its own. Within a bin indices ascend; equal lengths
    are placed in the order given, so the result is a function of the arguments.

    Raises:
        ConfigError: the budget is not positive.
    """
    if budget_tokens < 1:
        raise ConfigError(f"budget_tokens={budget_tokens}: must be at least 1")
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (tokens left, bin), ascending
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect_left(rooms, (lengths[row], -1))
        if place == len(rooms):
            bins.append([row])
            insort(rooms, (budget_tokens - lengths[row], len(bins) - 1))
        else:
            room, index = rooms.pop(place)
            bins[index].append(row)
            insort(rooms, (room - lengths[row], index))
    return [sorted(rows) for rows in bins]
