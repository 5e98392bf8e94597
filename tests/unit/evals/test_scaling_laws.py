"""Laws come back from curves that obey them, and intervals from resampled problems cover."""

import math

import numpy as np
import pytest

from burnish.errors import ConfigError, DataError
from burnish.evals.scaling_laws import coverage, fitted, log_linear, saturating

X = [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_line_over_doublings_comes_back():
    assert log_linear(X)(np.array([0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx({"a": 0.2, "b": 0.1})


def test_the_slope_is_that_of_least_squares():
    y = np.array([0.2, 0.25, 0.5, 0.45, 0.7])
    slope, start = np.polyfit(np.log2(X), y, 1)
    assert log_linear(X)(y) == pytest.approx({"a": start, "b": slope})


def test_a_saturating_curve_comes_back_on_the_grids_own_points():
    x = np.geomspace(1, 64, 7)
    middle = float(np.geomspace(x.min() / 4, x.max() * 4, 61)[30])
    slope = float(np.geomspace(0.25, 8.0, 26)[12])
    y = 0.1 + 0.5 / (1 + (middle / x) ** slope)
    found = saturating(x.tolist())(np.array([0.1, *y]))
    assert found == pytest.approx({"A": 0.6, "B": slope, "x_mid": middle})


def test_what_a_curve_tends_to_is_neither_below_its_start_nor_above_one():
    fit = saturating(X)
    assert fit(np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.0]))["A"] == 0.5
    assert fit(np.array([0.1, 0.9, 1.0, 1.0, 1.0, 1.0]))["A"] <= 1.0


def test_half_of_the_rise_is_there_at_the_middle():
    found = saturating(X)(np.array([0.0, 0.05, 0.15, 0.4, 0.6, 0.7]))
    half = found["A"] / (1 + (found["x_mid"] / found["x_mid"]) ** found["B"])
    assert half == pytest.approx(found["A"] / 2)
    assert 2 < found["x_mid"] < 8


def test_intervals_over_problems_cover_the_truth_about_as_often_as_they_say():
    truth = 0.1
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(150):
        ease = generator.normal(0, 0.3, (60, 1))  # a problem's points move together
        slopes = generator.normal(truth, 0.1, (60, 1))
        curves = 0.3 + ease + slopes * np.log2(X) + generator.normal(0, 0.1, (60, 5))
        interval = fitted(curves, log_linear(X), seed=trial, draws=300)["b"]
        covered += interval.low <= truth <= interval.high
    assert 0.88 < covered / 150 < 1.0


def test_problems_that_are_all_alike_leave_no_doubt():
    interval = fitted(np.tile([0.2, 0.3, 0.4], (5, 1)), log_linear(X[:3]))["b"]
    assert interval.low == pytest.approx(0.1) and interval.high == pytest.approx(0.1)


def test_resamples_that_a_law_refuses_are_counted_and_many_leave_no_interval():
    rows = np.array([[0.2, 0.5, 1.0], [0.3, 0.6, 1.0], [0.1, 0.4, 0.5]])
    interval = fitted(rows, coverage([1, 4, 16]), draws=200)["a"]
    used = int(interval.method.split(", ")[1].split(" of ")[0])
    refused = (2 / 3) ** 3  # none of the three drawn is the one that stays below 1
    assert used == pytest.approx(200 * (1 - refused), abs=25)
    assert math.isnan(interval.low) and interval.estimate < 0


def test_one_problem_has_no_interval():
    assert math.isnan(fitted(np.array([[0.1, 0.2, 0.4]]), log_linear(X[:3]))["b"].low)


def test_too_few_points_and_places_that_have_no_logarithm_are_refused():
    with pytest.raises(DataError, match="at least 3"):
        log_linear([1, 2])
    with pytest.raises(DataError, match="one x"):
        log_linear([2, 2, 2])
    with pytest.raises(ConfigError, match="above 0"):
        saturating([0, 1, 2])
    with pytest.raises(ConfigError, match="no problems"):
        fitted(np.zeros((0, 3)), log_linear(X[:3]))
