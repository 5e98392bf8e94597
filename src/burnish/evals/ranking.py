"""How well scores tell right from wrong, whatever their scale."""

from collections.abc import Sequence

import numpy as np

from burnish.evals.stats import paired_arrays


def auc(scores: Sequence[float], outcomes: Sequence[float]) -> float:
    """The chance that a right one scores above a wrong one, ties counting one half.

    Outcomes above one half are right. NaN where all are alike.
    """
    s, y = paired_arrays(scores, outcomes)
    right, wrong = s[y > 0.5], np.sort(s[y <= 0.5])
    if not len(right) or not len(wrong):
        return float("nan")
    below = np.searchsorted(wrong, right, side="left")
    ties = np.searchsorted(wrong, right, side="right") - below
    return float((below + ties / 2).sum() / (len(right) * len(wrong)))
