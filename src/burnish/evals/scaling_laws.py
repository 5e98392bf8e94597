"""Laws of scaling fitted to a curve that is a mean over problems, with bootstrapped intervals.

    log-linear   y = a + b log2 x                                   b: what a doubling buys
    saturating   y = y0 + (A - y0) / (1 + (x_mid / x)^B)            A: what it tends to

The second is that of Khatri et al. 2025 (2510.13786) for RL compute, y0 being measured without any.
Points of one curve share their problems, so that their errors are not independent: an interval is
that of the fit under resampling of the problems, not the one that least squares would give.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from burnish import rng
from burnish.config import require
from burnish.errors import ConfigError, DataError
from burnish.evals.fits import fit_coverage
from burnish.evals.stats import Interval

LEVEL = 0.95
DRAWS = 400
SLOPES = np.geomspace(0.25, 8.0, 26)
"""Of the saturating law: values of B that are tried."""
MIDDLES = 61
"""Values of x_mid that are tried, from a quarter of the least x to four times the largest."""

Curve = Float[np.ndarray, " K"]
Law = Callable[[Curve], Mapping[str, float]]
"""A curve's values at its x -> parameters by name."""


def log_linear(x: Sequence[float]) -> Law:
    """y = a + b log2 x, by least squares.

    Raises:
        ConfigError: an x is not above 0 and finite.
        DataError: fewer than three x, or all equal.
    """
    xs = _places(x)
    if len(set(xs.tolist())) < 2:
        raise DataError("all points lie at one x: a line cannot be fitted")
    inverse = np.linalg.pinv(np.stack([np.ones(len(xs)), np.log2(xs)], axis=1))

    def fit(y: Curve) -> Mapping[str, float]:
        a, b = inverse @ y
        return {"a": float(a), "b": float(b)}

    return fit


def saturating(x: Sequence[float]) -> Law:
    """y = y0 + (A - y0) / (1 + (x_mid / x)^B), with y0 the first of the values, at x = 0.

    The best of a grid of x_mid and B, with A in [y0, 1] by least squares for each: no start to
    choose, and nothing that fails to converge. `x` are those of the other values.

    Raises:
        ConfigError: as `log_linear`.
        DataError: fewer than three x.
    """
    xs = _places(x)
    middles = np.geomspace(xs.min() / 4, xs.max() * 4, MIDDLES)
    grid = [(middle, slope) for middle in middles for slope in SLOPES]
    shapes = np.stack([1 / (1 + (middle / xs) ** slope) for middle, slope in grid])
    squares = (shapes**2).sum(1)

    def fit(y: Curve) -> Mapping[str, float]:
        start, gains = float(y[0]), y[1:] - y[0]
        rises = np.clip(shapes @ gains / squares, 0.0, 1.0 - start)
        best = int(((gains - rises[:, None] * shapes) ** 2).sum(1).argmin())
        middle, slope = grid[best]
        return {"A": start + float(rises[best]), "B": float(slope), "x_mid": float(middle)}

    return fit


def coverage(k: Sequence[float]) -> Law:
    """c = exp(a k^b) (`burnish.evals.fits.fit_coverage`)."""

    def fit(y: Curve) -> Mapping[str, float]:
        return dict(fit_coverage(k, y.tolist()).values)

    return fit


def fitted(
    curves: Float[np.ndarray, "P K"], law: Law, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """A law's parameters for the mean of the problems' curves, with percentile intervals.

    Problems are resampled with replacement. A resample that the law refuses (as that of coverage
    does a curve that reaches 1) is left out, and `method` says how many were used; where fewer than
    nine in ten were, there is no interval.

    Raises:
        ConfigError, DataError: the law refuses the curve itself.
    """
    num = len(curves)
    require(num >= 1, "there are no problems to fit")
    whole = law(curves.mean(axis=0))
    found: list[Mapping[str, float]] = []
    picks = rng.stream(seed, "bootstrap").integers(0, num, (draws, num))
    for pick in picks if num > 1 else ():
        try:
            found.append(law(curves[pick].mean(axis=0)))
        except (ConfigError, DataError):
            continue
    enough = len(found) >= 0.9 * draws
    ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    intervals = {}
    for name, value in whole.items():
        resampled = np.array([one[name] for one in found]) if enough else np.array([math.nan])
        low, high = np.quantile(resampled, ends)
        intervals[name] = Interval(
            estimate=value,
            low=float(low),
            high=float(high),
            n=num,
            level=LEVEL,
            method=f"bootstrap over problems, {len(found)} of {draws} draws",
        )
    return intervals


def _places(x: Sequence[float]) -> np.ndarray:
    xs = np.asarray(x, float)
    require(bool((np.isfinite(xs) & (xs > 0)).all()), "x must be above 0 and finite")
    if len(xs) < 3:
        raise DataError(f"{len(xs)} points cannot be fitted: at least 3 are needed")
    return xs
