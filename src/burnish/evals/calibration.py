"""Calibration of probabilities: reliability bins and the expected calibration error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.errors import ConfigError, DataError
from burnish.evals.stats import paired_arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationBin:
    """Predictions in [low, high): their mean, and how often the outcome was right."""

    low: float
    high: float
    n: int
    mean_probability: float
    frequency: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """`ece` is the expected calibration error: mean |frequency - probability| over predictions."""

    bins: tuple[CalibrationBin, ...]
    ece: float


def calibration(
    probabilities: Sequence[float], outcomes: Sequence[float], bins: int = 10
) -> Calibration:
    """How often outcomes (0, 1, or 0.5 for a tie) happen where they were predicted.

    `bins` equal-width bins on [0, 1], empty ones left out. ECE depends on the bins, and is above
    zero in expectation even for perfect predictions where bins hold few.

    Raises:
        ConfigError: bins < 1.
        DataError: lengths differ, or a probability is outside [0, 1].
    """
    if bins < 1:
        raise ConfigError(f"calibration needs bins >= 1, not {bins}")
    p, y = paired_arrays(probabilities, outcomes)
    if ((p < 0) | (p > 1)).any():
        raise DataError("calibration needs probabilities within [0, 1]")
    which = np.minimum((p * bins).astype(int), bins - 1)
    made = tuple(
        CalibrationBin(
            low=b / bins,
            high=(b + 1) / bins,
            n=int((which == b).sum()),
            mean_probability=float(p[which == b].mean()),
            frequency=float(y[which == b].mean()),
        )
        for b in np.unique(which).tolist()
    )
    gaps = sum(b.n * abs(b.frequency - b.mean_probability) for b in made)
    return Calibration(bins=made, ece=gaps / len(p) if len(p) else math.nan)
