"""Bradley-Terry strengths from who beat whom (Bradley & Terry 1952; Hunter 2004 for the algorithm).

    P(i beats j) = s_i / (s_i + s_j),  fitted by maximum likelihood

A finite and unique maximum exists only where every way of splitting the items into two groups has
a win in each direction: the graph of wins is strongly connected (Ford 1957).
"""

from collections.abc import Sequence

import numpy as np

from burnish.errors import ConfigError, DataError

_TOLERANCE = 1e-12
_MAX_SWEEPS = 100_000


def bradley_terry_fit(pairs: Sequence[tuple[int, int]], num_items: int) -> list[float]:
    """Log strengths of the items, summing to zero, from (winner, loser) pairs.

    Raises:
        ConfigError: an index out of range, an item against itself, or fewer than two items.
        DataError: no finite maximum exists; names a group that never lost or never met the others.
    """
    if num_items < 2:
        raise ConfigError(f"num_items must be at least 2, not {num_items}")
    wins = np.zeros((num_items, num_items))
    for winner, loser in pairs:
        if not (0 <= winner < num_items and 0 <= loser < num_items) or winner == loser:
            raise ConfigError(
                f"the pair ({winner}, {loser}) must name two different items from 0 to "
                f"{num_items - 1}"
            )
        wins[winner, loser] += 1
    _check_connected(wins)
    games, won = wins + wins.T, wins.sum(axis=1)
    strength = np.ones(num_items)
    for _ in range(_MAX_SWEEPS):
        before = strength
        shares = games / (strength[:, None] + strength[None, :])
        strength = won / shares.sum(axis=1)
        strength /= np.exp(np.log(strength).mean())
        if np.abs(np.log(strength / before)).max() < _TOLERANCE:
            break
    return [float(s) for s in np.log(strength)]


def _check_connected(wins: np.ndarray) -> None:
    """Whether each item can be reached from the first by wins, forwards and backwards."""
    for beats, what in ((wins > 0, "beat"), (wins.T > 0, "lost to")):
        reached = {0}
        frontier = [0]
        while frontier:
            new = [int(i) for i in np.flatnonzero(beats[frontier.pop()]) if int(i) not in reached]
            reached.update(new)
            frontier += new
        if len(reached) < len(wins):
            group = sorted(reached)
            shown = ", ".join(map(str, group[:8])) + (", ..." if len(group) > 8 else "")
            raise DataError(
                f"no finite Bradley-Terry fit exists: the items {shown} never {what} any of the "
                "others; add comparisons, or leave items out"
            )
