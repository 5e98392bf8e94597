"""A vote among sampled answers in which each counts by a judge's weight.

Best of k trusts the judge alone, a majority vote not at all; this is in between (weighted
voting, as in DIVERSE: Li et al. 2022, 2206.02336).
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from burnish import rng
from burnish.errors import ConfigError

SUBSETS = 256
"""Subsets of a pool that stand for all of them, where there are more."""
_TIE = 1e-9


def weighted_vote_at_k(
    answers: Sequence[str], weights: Sequence[float], gold: str, k: int, *, seed: int
) -> float:
    """The expected accuracy of the answer with the largest sum of weights among k of the pool.

    The mean over all subsets of size k, or over SUBSETS random ones where there are more; answers
    that tie share the win. With equal weights it is `stats.majority_at_k`.

    Raises:
        ConfigError: k is not between 1 and the size of the pool, lengths differ, or a weight is
            below 0: it would count against its answer.
    """
    pool = len(answers)
    if not 1 <= k <= pool:
        raise ConfigError(f"a weighted vote needs 1 <= k <= {pool} answers, not {k}")
    if len(weights) != pool or not all(0 <= w < math.inf for w in weights):
        raise ConfigError("a weighted vote needs one weight of at least 0 for each answer")
    if gold not in answers:
        return 0.0
    names = list(dict.fromkeys(answers))
    said = np.zeros((pool, len(names)))
    said[np.arange(pool), [names.index(answer) for answer in answers]] = 1.0
    chosen = _subsets(pool, k, seed)
    sums = (said * np.asarray(weights, float)[:, None])[chosen].sum(axis=1)
    sums[said[chosen].sum(axis=1) == 0] = -math.inf  # what nobody said cannot win, even of zeros
    wins = sums >= sums.max(axis=1, keepdims=True) - _TIE
    return float((wins[:, names.index(gold)] / wins.sum(axis=1)).mean())


def _subsets(pool: int, k: int, seed: int) -> Int[np.ndarray, "S k"]:
    if math.comb(pool, k) <= SUBSETS:
        return np.array(list(itertools.combinations(range(pool), k)))
    order: Float[np.ndarray, "S N"] = rng.stream(seed, "subsets", k).random((SUBSETS, pool))
    chosen: np.ndarray = order.argsort(axis=1)[:, :k]
    return chosen
