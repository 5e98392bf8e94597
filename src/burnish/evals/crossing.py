"""Where one coverage curve overtakes another: new ability, or better aim?

If a model after RL solves more with one try but its start solves as much with k tries, RL found
nothing that was not there: it aims better (Yue et al. 2025, 2504.13837). The crossing is the least
k at which the start's coverage is at least that of the tuned model.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from burnish import rng
from burnish.config import require
from burnish.evals.stats import Interval

DRAWS = 400
LEVEL = 0.95


def crossing_at(
    k: Sequence[int], before: Float[np.ndarray, " K"], after: Float[np.ndarray, " K"]
) -> float:
    """The k at which `before` reaches `after`, log-linear between the k that were measured.

    1 where it is there at the start; infinite where it never is: the last of k says how far one
    looked.
    """
    gap = np.asarray(before, float) - np.asarray(after, float)
    reached = np.flatnonzero(gap >= 0)
    if not len(reached):
        return math.inf
    i = int(reached[0])
    if i == 0:
        return float(k[0])
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    low, high = math.log(k[i - 1]), math.log(k[i])
    return math.exp(low + share * (high - low))


def crossing(
    k: Sequence[int],
    before: Float[np.ndarray, "P K"],
    after: Float[np.ndarray, "P K"],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """The crossing of two coverage curves over the same problems, resampled together.

    An end of the interval is infinite where so many resamples never cross within k.

    Raises:
        ConfigError: the curves are not of the same problems and k.
    """
    shape = (len(before), len(k))
    require(before.shape == shape and after.shape == shape, "curves must share problems and k")
    require(len(before) >= 1, "there are no problems")
    whole = crossing_at(k, before.mean(0), after.mean(0))
    picks = rng.stream(seed, "crossing").integers(0, len(before), (draws, len(before)))
    found = np.array([crossing_at(k, before[p].mean(0), after[p].mean(0)) for p in picks])
    # By rank: quantiles between a finite and an infinite value have no number.
    low, high = np.sort(found)[[int((1 - LEVEL) / 2 * draws), int((1 + LEVEL) / 2 * draws) - 1]]
    return Interval(
        estimate=whole,
        low=float(low),
        high=float(high),
        n=len(before),
        level=LEVEL,
        method=f"bootstrap over problems, {draws} draws",
    )
