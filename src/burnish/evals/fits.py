"""Laws of over-optimisation and of repeated sampling, fitted with intervals.

    best of n    R(d) = d (alpha - beta d),        peak at alpha / (2 beta)      d = sqrt(KL)
    RL           R(d) = d (alpha - beta log d),    peak at exp(alpha / beta - 1)
    coverage     c(k) = exp(a k^b)

The first two are Gao et al. 2022 (2210.10760, section 3), the third Brown et al. 2024 (2407.21787,
section 3). All by least squares; intervals are 95 %, from the linearised covariance of the fit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from burnish import rng
from burnish.config import require
from burnish.errors import ConfigError, DataError
from burnish.evals.stats import Interval
from burnish.evals.student_t import t_quantile

LEVEL = 0.95
_STEPS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Parameters by name, with intervals; `peak` is where the curve is highest, if it has one."""

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    peak: float | None
    r_squared: float

    @property
    def alpha(self) -> float:
        return self.values["alpha"]

    @property
    def beta(self) -> float:
        return self.values["beta"]

    @property
    def a(self) -> float:
        return self.values["a"]

    @property
    def b(self) -> float:
        return self.values["b"]


def fit_overoptimization(
    distance: Sequence[float], gold: Sequence[float], *, form: Literal["bon", "rl"]
) -> Fit:
    """Fit gold reward, measured from the start's, over d = sqrt(KL).

    Raises:
        ConfigError: an unknown form, lengths that differ, or a distance that is not above 0.
        DataError: fewer than three points, or all at one distance.
    """
    if form not in ("bon", "rl"):
        raise ConfigError(f"form={form!r}; valid: bon, rl")
    d, reward = _points(distance, gold, "distance", "gold")
    bend = -(d**2) if form == "bon" else -d * np.log(d)
    design = np.stack([d, bend], axis=1)
    if np.linalg.matrix_rank(design) < 2:
        raise DataError("all points lie at one distance: a curve cannot be fitted")
    solution, *_ = np.linalg.lstsq(design, reward, rcond=None)
    alpha, beta = (float(v) for v in solution)
    residual = reward - design @ solution
    peak = None
    if beta > 0:
        peak = alpha / (2 * beta) if form == "bon" else math.exp(alpha / beta - 1)
    return _fit({"alpha": alpha, "beta": beta}, design, reward, residual, peak)


def fit_coverage(k: Sequence[float], coverage: Sequence[float]) -> Fit:
    """Fit the share of problems solved by at least one of k samples.

    Raises:
        ConfigError: lengths that differ, a k that is not above 0, or a coverage outside (0, 1).
        DataError: fewer than three points, or all at one k.
    """
    draws, solved = _points(k, coverage, "k", "coverage")
    require(bool(((solved > 0) & (solved < 1)).all()), "coverage must be in (0, 1)")
    if len(set(draws.tolist())) < 2:
        raise DataError("all points lie at one k: a curve cannot be fitted")
    # log(-log c) = log(-a) + b log k starts the descent on the squared error of c itself.
    slope, start = np.polyfit(np.log(draws), np.log(-np.log(solved)), 1)
    values = np.array([-math.exp(start), slope])
    damping = 1e-3
    residual, jacobian = _coverage_error(values, draws, solved)
    for _ in range(_STEPS):
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), jacobian.T @ residual)
        tried, its_jacobian = _coverage_error(values + step, draws, solved)
        if (tried**2).sum() <= (residual**2).sum():
            values, residual, jacobian = values + step, tried, its_jacobian
            damping /= 3
            if np.abs(step).max() < 1e-12:
                break
        else:
            damping *= 3
    return _fit({"a": float(values[0]), "b": float(values[1])}, jacobian, solved, residual, None)


def _coverage_error(
    values: np.ndarray, draws: np.ndarray, solved: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the points, and the curve's derivative in a and b."""
    power = draws ** values[1]
    curve = np.exp(np.minimum(values[0] * power, 50.0))
    jacobian = np.stack([curve * power, curve * values[0] * power * np.log(draws)], axis=1)
    return solved - curve, jacobian


def _points(
    x: Sequence[float], y: Sequence[float], x_name: str, y_name: str
) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    require(xs.shape == ys.shape and xs.ndim == 1, f"{x_name} and {y_name} must be of one length")
    require(bool(np.isfinite(ys).all()), f"{y_name} must be finite")
    require(bool((np.isfinite(xs) & (xs > 0)).all()), f"{x_name} must be above 0 and finite")
    if len(xs) < 3:
        raise DataError(
            f"{len(xs)} points cannot be fitted with an interval: at least 3 are needed"
        )
    return xs, ys


def _fit(
    values: Mapping[str, float],
    jacobian: np.ndarray,
    y: np.ndarray,
    residual: np.ndarray,
    peak: float | None,
) -> Fit:
    free = len(y) - len(values)
    variance = float((residual**2).sum()) / free
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian)
    width = t_quantile((1 + LEVEL) / 2, free)
    intervals = {}
    for i, (name, value) in enumerate(values.items()):
        half = width * math.sqrt(max(float(covariance[i, i]), 0.0))
        intervals[name] = Interval(
            estimate=value,
            low=value - half,
            high=value + half,
            n=len(y),
            level=LEVEL,
            method="least squares",
        )
    total = float(((y - y.mean()) ** 2).sum())
    explained = 1 - float((residual**2).sum()) / total if total > 0 else 0.0
    return Fit(values=dict(values), intervals=intervals, peak=peak, r_squared=explained)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """A fit to means over prompts, with percentile intervals from resampling the prompts."""

    values: Mapping[str, Interval]
    """alpha and beta."""
    peak: Interval | None
    """The distance at which gold is highest; None where the fit to all prompts has no peak."""
    peaked: float
    """Share of the resamples whose fit has a peak; the peak's interval is over those."""
    r_squared: float


def resample_overoptimization(
    kl: Sequence[Sequence[float]],
    gold: Sequence[Sequence[float]],
    *,
    form: Literal["bon", "rl"],
    seed: int = 0,
    num: int = 400,
) -> Resampled:
    """Fit `gold[point][prompt]`, measured from the start's on the same prompt, over sqrt(mean KL).

    Points share their prompts, and err together: residuals of one fit would give intervals that are
    too narrow. Resampling whole prompts keeps that. Points whose mean KL is not above 0 have no
    distance and are left out.

    Raises:
        ConfigError, DataError: as `fit_overoptimization`, for all prompts.
    """
    distances, rewards = np.asarray(kl, float), np.asarray(gold, float)
    require(distances.shape == rewards.shape, "kl and gold must be of one shape")
    whole = _fit_means(distances, rewards, form)
    draws = rng.stream(rng.key(seed, "resample fit"), "prompts")
    found = []
    for _ in range(num):
        chosen = draws.integers(0, rewards.shape[1], rewards.shape[1])
        try:
            found.append(_fit_means(distances[:, chosen], rewards[:, chosen], form))
        except DataError:  # fewer than three points of this resample have a distance
            continue
    peaks = [fit.peak for fit in found if fit.peak is not None]
    return Resampled(
        values={
            name: _percentiles(whole.values[name], [fit.values[name] for fit in found])
            for name in whole.values
        },
        peak=None if whole.peak is None else _percentiles(whole.peak, peaks),
        peaked=len(peaks) / max(len(found), 1),
        r_squared=whole.r_squared,
    )


def _fit_means(kl: np.ndarray, gold: np.ndarray, form: Literal["bon", "rl"]) -> Fit:
    square, reward = kl.mean(axis=1), gold.mean(axis=1)
    away = square > 0
    return fit_overoptimization(np.sqrt(square[away]).tolist(), reward[away].tolist(), form=form)


def _percentiles(estimate: float, resampled: Sequence[float]) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = (
        (float(q) for q in np.quantile(resampled, [tail, 1 - tail]))
        if resampled
        else (math.nan, math.nan)
    )
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        n=len(resampled),
        level=LEVEL,
        method="resampled prompts",
    )
