"""Means over parts that come in clusters, such as the instructions of one prompt.

Parts of one cluster succeed and fail together, so that counting them as independent would make
intervals too narrow. The estimate is the ratio of two sums over clusters, its variance that of the
linearised ratio (Cochran 1977, section 6.3; for language models Miller 2024, arXiv 2411.00640).
"""

import math
from collections.abc import Sequence

import numpy as np

from burnish.evals.stats import Interval, accuracy_interval, paired_arrays
from burnish.evals.student_t import t_quantile


def clustered_share(
    successes: Sequence[float], sizes: Sequence[float], *, level: float = 0.95
) -> Interval:
    """Successes over parts: Wilson's interval at the size of a simple sample of equal variance.

    Where all parts succeed or all fail the variance cannot be told, and each cluster counts as one
    part. `n` is the number of parts.

    Raises:
        DataError: the lengths differ, or a value is not finite.
    """
    s, m = paired_arrays(successes, sizes)
    parts = round(float(m.sum()))
    if len(s) < 2 or parts == 0:
        estimate = float(s.sum()) / parts if parts else math.nan
        return _interval(estimate, math.nan, math.nan, parts, level)
    share = float(s.sum()) / parts
    spread = _spread(s, m, share)
    effective = share * (1 - share) / spread**2 if spread else len(s)
    whole = max(min(int(effective), parts), 1)
    wilson = accuracy_interval(share * whole, whole, level=level)
    return _interval(share, wilson.low, wilson.high, parts, level)


def clustered_difference(
    a: Sequence[float], b: Sequence[float], sizes: Sequence[float], *, level: float = 0.95
) -> Interval:
    """The share of `a` less that of `b`, over the same parts of the same clusters: Student's t.

    Raises:
        DataError: the lengths differ, or a value is not finite.
    """
    x, y = paired_arrays(a, b)
    d, m = paired_arrays((x - y).tolist(), sizes)
    parts = round(float(m.sum()))
    if len(d) < 2 or parts == 0:
        estimate = float(d.sum()) / parts if parts else math.nan
        return _interval(estimate, math.nan, math.nan, parts, level)
    estimate = float(d.sum()) / parts
    half = t_quantile(0.5 + level / 2, len(d) - 1) * _spread(d, m, estimate)
    return _interval(estimate, max(estimate - half, -1.0), min(estimate + half, 1.0), parts, level)


def _spread(sums: np.ndarray, sizes: np.ndarray, ratio: float) -> float:
    """The standard error of sum(sums)/sum(sizes), clusters being the unit of sampling."""
    n = len(sums)
    rest = float(((sums - ratio * sizes) ** 2).sum())
    return math.sqrt(n / (n - 1) * rest) / float(sizes.sum())


def _interval(estimate: float, low: float, high: float, n: int, level: float) -> Interval:
    return Interval(
        estimate=estimate, low=low, high=high, n=n, level=level, method="clustered by problem"
    )
