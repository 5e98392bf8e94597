"""The crossed interval: a case by hand, its coverage, and its limits."""

import math

import numpy as np
import pytest

from burnish.errors import DataError
from burnish.evals.crossed import crossed_interval
from burnish.evals.stats import mean_interval
from burnish.evals.student_t import t_quantile


def test_a_case_by_hand() -> None:
    # Means 1 and 3 of seeds, 1, 2 and 3 of problems; the rest is +-1/2 and 0.
    x = [[-0.5, 1.0, 2.5], [2.5, 3.0, 3.5]]
    found = crossed_interval(x)
    ms_s, ms_p, ms_r = 3 * 2 / 1, 2 * 2 / 2, 4 * 0.25 / 2
    whole = ms_s + ms_p - ms_r
    freedom = whole**2 / (ms_s**2 / 1 + ms_p**2 / 2 + ms_r**2 / 2)
    half = t_quantile(0.975, freedom) * math.sqrt(whole / 6)
    assert found.estimate == pytest.approx(2)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_one_seed_is_students_t_over_problems() -> None:
    assert crossed_interval([[1.0, 2.0, 4.0]]) == mean_interval([1.0, 2.0, 4.0], binary=False)


def test_equal_values_have_no_width_and_order_does_not_matter() -> None:
    same = crossed_interval([[1.0, 1.0], [1.0, 1.0]])
    assert same.low == same.high == 1.0
    x = np.arange(12.0).reshape(3, 4) ** 1.5
    assert crossed_interval(x[::-1, ::-1].tolist()).low == pytest.approx(
        crossed_interval(x.tolist()).low
    )


@pytest.mark.parametrize(("seed_sd", "problem_sd"), [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)])
def test_it_covers_the_mean_as_often_as_it_says_where_one_over_problems_does_not(
    seed_sd: float, problem_sd: float
) -> None:
    rng = np.random.default_rng(0)
    hits = narrow = 0
    for _ in range(400):
        x = rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, problem_sd, (1, 40))
        x = x + rng.normal(0, 0.5, (3, 40))
        found, plain = crossed_interval(x.tolist()), mean_interval(x.mean(axis=0).tolist())
        hits += found.low <= 0 <= found.high
        narrow += plain.low <= 0 <= plain.high
    assert hits / 400 > (0.9 if seed_sd == 1 else 0.93)
    assert seed_sd < 1 or narrow / 400 < 0.5


def test_uneven_or_infinite_values_are_refused() -> None:
    with pytest.raises(DataError, match="same problems"):
        crossed_interval([[1.0], [1.0, 2.0]])
    with pytest.raises(DataError, match="finite"):
        crossed_interval([[1.0, math.inf]])
