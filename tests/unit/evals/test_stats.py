"""Estimators against closed forms and brute-force enumeration; intervals against known values."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from burnish.errors import ConfigError, DataError
from burnish.evals import stats
from burnish.evals.student_t import t_cdf, t_quantile


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(10, 3, 5, 0.916667), (200, 7, 100, 0.992991), (10000, 3, 100, 0.029704)],
)
def test_pass_at_k_agrees_with_published_values(n: int, c: int, k: int, expected: float) -> None:
    assert stats.pass_at_k(n, c, k) == pytest.approx(expected, abs=5e-7)


def test_pass_at_k_is_exact_against_fractions() -> None:
    for n in (1, 2, 7, 40, 1000):
        for c in {0, 1, n // 3, n - 1, n}:
            for k in {1, max(1, n // 2), n}:
                exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
                assert stats.pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-12, abs=0)


def test_pass_at_k_refuses_more_samples_than_there_are() -> None:
    with pytest.raises(ConfigError, match="k=5, n=4"):
        stats.pass_at_k(4, 1, 5)
    with pytest.raises(ConfigError, match="c=5"):
        stats.pass_at_k(4, 5, 1)


def test_pass_at_k_averages_to_the_beta_binomial_coverage() -> None:
    """p ~ Beta(.3, 3): E pass@k has a closed form, and the estimator is unbiased for it."""
    expected = {1: 0.09091, 4: 0.24019, 16: 0.44224, 64: 0.61935, 256: 0.74658}
    n = 256
    log_beta = lambda a, b: math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)  # noqa: E731
    log_choose = lambda c: -math.log(n + 1) - log_beta(n - c + 1, c + 1)  # noqa: E731
    pmf = [
        math.exp(log_choose(c) + log_beta(c + 0.3, n - c + 3) - log_beta(0.3, 3))
        for c in range(n + 1)
    ]
    for k, value in expected.items():
        mean = sum(p * stats.pass_at_k(n, c, k) for c, p in enumerate(pmf))
        assert mean == pytest.approx(value, abs=1e-5)


def _vote_by_enumeration(counts: dict[str, int], gold: str, k: int) -> float:
    pool = [answer for answer, c in counts.items() for _ in range(c)]
    scores = []
    for subset in combinations(pool, k):
        most = max(subset.count(a) for a in subset)
        winners = {a for a in subset if subset.count(a) == most}
        scores.append((gold in winners) / len(winners))
    return sum(scores) / len(scores)


@pytest.mark.parametrize(
    "counts",
    [
        {"a": 3, "b": 3, "c": 2},
        {"a": 1, "b": 4, "c": 1, "d": 1, "e": 1},
        {"a": 5, "b": 2, "c": 0},
        {"a": 2, "b": 2, "c": 2, "d": 2},
    ],
)
def test_majority_vote_equals_enumeration_of_all_subsets(counts: dict[str, int]) -> None:
    for k in range(1, sum(counts.values()) + 1):
        expected = _vote_by_enumeration(counts, "a", k)
        assert stats.majority_at_k(counts, "a", k) == pytest.approx(expected, abs=1e-12)


def test_majority_vote_falls_with_k_where_the_likeliest_answer_is_wrong() -> None:
    counts = {"right": 30, "wrong": 50, "other": 20}
    curve = [stats.majority_at_k(counts, "right", k) for k in (1, 4, 16, 64, 100)]
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == pytest.approx(0.3)
    assert curve[-1] == 0.0


def test_majority_vote_stays_finite_for_large_pools() -> None:
    counts = {"gold": 900} | {f"w{i}": 20 for i in range(55)}
    value = stats.majority_at_k(counts, "gold", 40)
    assert 0.999 < value <= 1.0


def test_majority_vote_without_the_gold_answer_is_zero_and_checks_k() -> None:
    assert stats.majority_at_k({"b": 3}, "a", 2) == 0.0
    with pytest.raises(ConfigError, match="1 <= k <= 3"):
        stats.majority_at_k({"b": 3}, "a", 4)


def test_best_of_n_kl_bounds_the_exact_kl_on_uniform_ten() -> None:
    for n, exact in {4: 0.6288, 16: 1.7331, 64: 2.2935}.items():
        assert stats.best_of_n_kl(n, [0.1] * 10) == pytest.approx(exact, abs=5e-5)
        assert stats.best_of_n_kl(n) > exact
    fine = stats.best_of_n_kl(4, [1e-4] * 10_000)
    assert fine == pytest.approx(stats.best_of_n_kl(4), abs=1e-4)
    assert stats.best_of_n_kl(1) == 0.0


def test_expected_best_of_n_equals_enumeration_with_ties_shared() -> None:
    proxy = [0.1, 0.5, 0.5, -1.0, 0.5, 2.0, 0.1]
    gold = [1.0, 0.0, 3.0, 2.0, -1.0, 0.5, 4.0]
    for n in range(1, 8):
        values = []
        for subset in combinations(range(7), n):
            best = max(proxy[i] for i in subset)
            values.append(np.mean([gold[i] for i in subset if proxy[i] == best]))
        assert stats.expected_best_of_n(proxy, gold, n) == pytest.approx(np.mean(values))


def test_expected_best_of_n_weights_sum_to_one_for_large_pools() -> None:
    assert stats.expected_best_of_n(range(5000), [1.0] * 5000, 300) == pytest.approx(1.0)


def test_t_quantiles_agree_with_tables() -> None:
    for df, expected in {1: 12.70620, 2: 4.30265, 9: 2.26216, 30: 2.04227, 200: 1.97190}.items():
        assert t_quantile(0.975, df) == pytest.approx(expected, abs=1e-5)
    assert t_cdf(-1.0, 1) == pytest.approx(0.25)
    assert t_cdf(0.0, 7) == pytest.approx(0.5)


def test_wilson_interval_agrees_with_the_worked_example() -> None:
    """Newcombe 1998, table I: 81 of 263 gives .2553 to .3662; 0 of 20 gives 0 to .1611."""
    some = stats.accuracy_interval(81, 263)
    assert (some.low, some.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = stats.accuracy_interval(0, 20)
    assert (none.estimate, none.low, none.high) == pytest.approx((0, 0, 0.1611), abs=5e-5)


def test_mean_interval_chooses_wilson_for_binary_and_t_otherwise() -> None:
    assert stats.mean_interval([0, 1, 1, 0]).method == "Wilson"
    graded = stats.mean_interval([1.0, 2.0, 3.0])
    assert graded.method == "t"
    assert graded.high - 2.0 == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)


def test_too_few_values_have_no_interval_rather_than_a_narrow_one() -> None:
    assert math.isnan(stats.mean_interval([0.4]).low)
    assert math.isnan(stats.mean_interval([]).estimate)
    assert not stats.paired_interval([0.5], [0.1]).excludes_zero


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="value 1 is nan"):
        stats.mean_interval([1.0, math.nan])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    a = rng.random((1500, 40)) < 0.55
    b = np.where(rng.random((1500, 40)) < 0.6, a, rng.random((1500, 40)) < 0.3)
    truth = 0.55 - (0.6 * 0.55 + 0.4 * 0.3)
    held = [
        i.low <= truth <= i.high
        for i in (stats.paired_interval(x, y) for x, y in zip(a, b, strict=True))
    ]
    assert 0.93 < np.mean(held) < 0.98


def test_pairing_is_narrower_than_two_separate_intervals_for_correlated_models() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 60)
    a, b = hard + 0.2, hard + rng.normal(0, 0.1, 60)
    paired = stats.paired_interval(a, b)
    alone = stats.mean_interval(a)
    assert paired.high - paired.low < (alone.high - alone.low) / 4
    assert paired.excludes_zero


def test_binary_pairs_that_never_disagree_still_have_a_width() -> None:
    same = stats.paired_interval([0, 1, 1, 0], [0, 1, 1, 0])
    assert same.estimate == 0
    assert same.low < 0 < same.high


def test_mcnemar_is_exact_and_the_paired_t_agrees_with_a_worked_example() -> None:
    a = [1] * 9 + [0] * 1 + [1] * 10
    b = [0] * 9 + [1] * 1 + [1] * 10
    assert stats.paired_test(a, b).p == pytest.approx(2 * (1 + 10) / 2**10)
    # differences 1, 2, 3: t = 2 / (1/sqrt 3) = 3.4641 on 2 degrees: p = 0.0742
    graded = stats.paired_test([2.5, 4.0, 6.0], [1.5, 2.0, 3.0])
    assert graded.p == pytest.approx(0.07418, abs=1e-5)
    with pytest.raises(DataError, match="2 and 1"):
        stats.paired_test([1.0, 0.0], [1.0])
