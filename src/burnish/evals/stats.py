"""Estimators and intervals for evaluations: pass@k, majority vote, best of n, means, paired tests.

Every function says which estimator and interval it is. Problems are the unit of sampling: several
completions of one are averaged before they come here. Multiple comparisons are not corrected for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from burnish.errors import ConfigError, DataError
from burnish.evals.student_t import t_cdf, t_quantile


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with a confidence interval; `low` and `high` are NaN where none can be had."""

    estimate: float
    low: float
    high: float
    n: int
    level: float
    method: str

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def within(self, low: float, high: float) -> "Interval":
        """The same without what the quantity cannot be, such as an accuracy above 1."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))

    def times(self, factor: float) -> "Interval":
        """The interval of the same quantity in another unit; `factor` > 0."""
        return replace(
            self,
            estimate=self.estimate * factor,
            low=self.low * factor,
            high=self.high * factor,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTest:
    """A two-sided test of no difference between two models on the same problems."""

    p: float
    n: int
    method: str


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of P(at least one of k is correct) from c correct of n samples.

    1 - C(n-c, k)/C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1), as a product of c factors in
    log space, so that it is exact to rounding for any n.

    Raises:
        ConfigError: not 1 <= k <= n, or not 0 <= c <= n.
    """
    if not 1 <= k <= n:
        raise ConfigError(f"pass@k needs 1 <= k <= n, not k={k}, n={n}")
    if not 0 <= c <= n:
        raise ConfigError(f"pass@k needs 0 <= c <= n, not c={c}, n={n}")
    if c == 0 or n - c < k:
        return float(c > 0)
    return float(-np.expm1(np.log1p(-k / np.arange(n - c + 1, n + 1)).sum()))


def majority_at_k(counts: Mapping[str, int], gold: str, k: int) -> float:
    """The expected accuracy of a majority vote among k of the pool's answers, ties split evenly.

    The mean over all subsets of size k, without replacement. Answers' counts in a random subset are
    independent binomials conditioned on their sum, for any success probability; with k/N the sum's
    own probability is large, so the convolution below is exact to rounding and cannot overflow.

    Raises:
        ConfigError: k is not between 1 and the size of the pool.
    """
    pool = sum(counts.values())
    if not 1 <= k <= pool:
        raise ConfigError(f"a majority vote needs 1 <= k <= {pool} answers, not {k}")
    if counts.get(gold, 0) == 0:
        return 0.0
    share = k / pool
    if share == 1.0:
        most = max(counts.values())
        return (counts[gold] == most) / sum(c == most for c in counts.values())
    others = [c for answer, c in counts.items() if answer != gold and c > 0]
    votes = _binomial(counts[gold], share)
    total = 0.0
    for g in range(1, min(counts[gold], k) + 1):
        total += float(votes[g]) * _win_share(others, g, k - g, share)
    return total / float(_binomial(pool, share)[k])


def _win_share(others: Sequence[int], g: int, rest: int, share: float) -> float:
    """Probability that the others cast `rest` votes, none above g, each tie at g halving etc."""
    ways = np.zeros((rest // g + 1, rest + 1))  # [answers tied at g, votes cast]
    ways[0, 0] = 1.0
    for count in others:
        votes = _binomial(count, share)
        new = ways * votes[0]
        for x in range(1, min(count, g - 1, rest) + 1):
            new[:, x:] += ways[:, :-x] * votes[x]
        if min(count, rest) >= g:
            new[1:, g:] += ways[:-1, :-g] * votes[g]
        ways = new
    return float((ways[:, rest] / np.arange(1, len(ways) + 1)).sum())


@lru_cache(maxsize=1024)
def _binomial(n: int, p: float) -> np.ndarray:
    """The probabilities of 0..n successes; shared between calls, so read-only."""
    x = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    pmf: np.ndarray = np.exp(log_choose + x * math.log(p) + (n - x) * math.log1p(-p))
    pmf.flags.writeable = False
    return pmf


def best_of_n_kl(n: int, probs: Sequence[float] | None = None) -> float:
    """KL, in nats, of best-of-n to the policy sampled from.

    Without `probs` it is log n - (n-1)/n, an *upper bound* that is reached only where scores have
    no ties and single completions no mass (Beirami et al. 2024, arXiv 2401.01879); on small
    supports it is well above. With `probs`, of completions from the worst score to the best, it is
    exact.

    Raises:
        ConfigError: n < 1, or `probs` are no distribution.
    """
    if n < 1:
        raise ConfigError(f"best of n needs n >= 1, not {n}")
    if probs is None:
        return math.log(n) - (n - 1) / n
    p = np.asarray(probs, float)
    if (p < 0).any() or not math.isclose(float(p.sum()), 1.0, rel_tol=1e-6):
        raise ConfigError("probs must be at least 0 and sum to 1")
    below = np.concatenate([[0.0], np.cumsum(p)]) ** n
    best = np.diff(below)
    kept = best > 0
    return float((best[kept] * np.log(best[kept] / p[kept])).sum())


def expected_best_of_n(proxy: Sequence[float], gold: Sequence[float], n: int) -> float:
    """The unbiased estimate of E[gold score of the proxy-best of n], from a pool of N samples.

    The i-th smallest by proxy is the best of a random subset with probability C(i-1, n-1)/C(N, n)
    (Nakano et al. 2021, arXiv 2112.09332, eq. 2); samples tied on proxy share theirs evenly. With
    gold = proxy it is the expected proxy score itself.

    Raises:
        ConfigError: not 1 <= n <= N, or the two have different lengths.
    """
    pool = len(proxy)
    if len(gold) != pool:
        raise ConfigError(f"proxy has {pool} scores and gold {len(gold)}; they must be paired")
    if not 1 <= n <= pool:
        raise ConfigError(f"best of n needs 1 <= n <= {pool} samples, not {n}")
    weights = np.zeros(pool)
    weights[pool - 1] = n / pool
    for i in range(pool - 1, n - 1, -1):  # the i-th smallest, from C(i-1, n-1)/C(i, n-1)
        weights[i - 1] = weights[i] * (i - n + 1) / i
    _, group, sizes = np.unique(np.asarray(proxy, float), return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    shared = np.add.reduceat(weights, ends - sizes) / sizes
    return float((shared[group] * np.asarray(gold, float)).sum())


def accuracy_interval(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion; at n = 0 all is NaN. Ties may count one half."""
    if n == 0:
        return _no_interval(math.nan, 0, level, "Wilson")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return Interval(
        estimate=p,
        low=max(0.0, min(p, centre - half)),
        high=min(1.0, max(p, centre + half)),
        n=n,
        level=level,
        method="Wilson",
    )


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, binary: bool | None = None
) -> Interval:
    """A mean with its interval: Wilson's for binary values, else Student's t.

    binary: whether values are outcomes, 0 or 1; by default, whether all of them happen to be.
    One value has no interval, no values no mean: NaN, so that it is seen.

    Raises:
        DataError: a value is not finite.
    """
    array = _finite(values)
    if binary is None:
        binary = len(array) > 0 and bool(np.isin(array, (0.0, 1.0)).all())
    if binary:
        return accuracy_interval(float(array.sum()), len(array), level=level)
    return _t_interval(array, level)


def paired_interval(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Interval:
    """The mean of a - b over problems that both answered, in the same order.

    Student's t on the differences; where both are 0/1, Bonett and Price's (2012) adjusted interval,
    which keeps a width when the two models never disagree.

    Raises:
        DataError: the lengths differ, or a value is not finite.
    """
    x, y = paired_arrays(a, b)
    n = len(x)
    if n == 0 or not np.isin(np.concatenate([x, y]), (0.0, 1.0)).all():
        return _t_interval(x - y, level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    up = (float((x > y).sum()) + 1) / (n + 2)
    down = (float((x < y).sum()) + 1) / (n + 2)
    half = z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Interval(
        estimate=float((x - y).mean()),
        low=max(-1.0, up - down - half),
        high=min(1.0, up - down + half),
        n=n,
        level=level,
        method="Bonett-Price",
    )


def paired_test(a: Sequence[float], b: Sequence[float]) -> PairedTest:
    """Two-sided p-value of "no difference": exact McNemar where both are 0/1, else paired t.

    Raises:
        DataError: the lengths differ, or a value is not finite.
    """
    x, y = paired_arrays(a, b)
    n = len(x)
    if n and np.isin(np.concatenate([x, y]), (0.0, 1.0)).all():
        up, down = int((x > y).sum()), int((x < y).sum())
        tail = sum(math.comb(up + down, i) for i in range(min(up, down) + 1))
        p = min(1.0, 2 * tail / 2 ** (up + down))
        return PairedTest(p=p, n=n, method="exact McNemar")
    d = x - y
    if n < 2:
        return PairedTest(p=math.nan, n=n, method="paired t")
    spread = float(d.std(ddof=1)) / math.sqrt(n)
    if spread == 0.0:
        return PairedTest(p=float(d[0] == 0.0), n=n, method="paired t")
    p = 2 * (1 - t_cdf(abs(float(d.mean())) / spread, n - 1))
    return PairedTest(p=p, n=n, method="paired t")


def _t_interval(array: np.ndarray, level: float) -> Interval:
    n = len(array)
    if n < 2:
        return _no_interval(float(array.mean()) if n else math.nan, n, level, "t")
    estimate = float(array.mean())
    half = t_quantile(0.5 + level / 2, n - 1) * float(array.std(ddof=1)) / math.sqrt(n)
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        n=n,
        level=level,
        method="t",
    )


def _no_interval(estimate: float, n: int, level: float, method: str) -> Interval:
    nan = math.nan
    return Interval(estimate=estimate, low=nan, high=nan, n=n, level=level, method=method)


def _finite(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, float)
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise DataError(f"value {at} is {array[at]}; leave unscorable rows out and count them")
    return array


def paired_arrays(a: Sequence[float], b: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays. Raises: DataError, if lengths differ or a value is not finite."""
    x, y = _finite(a), _finite(b)
    if len(x) != len(y):
        raise DataError(f"paired values differ in number: {len(x)} and {len(y)}")
    return x, y
