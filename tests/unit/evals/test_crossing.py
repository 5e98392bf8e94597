"""Crossings by hand, with intervals that say when none was seen."""

import math

import numpy as np
import pytest

from burnish.errors import ConfigError
from burnish.evals.crossing import crossing, crossing_at

K = [1, 2, 4, 8]


def test_curves_cross_where_they_are_equal_between_two_k():
    before, after = np.array([0.1, 0.3, 0.6, 0.8]), np.array([0.3, 0.4, 0.5, 0.6])
    assert crossing_at(K, before, after) == pytest.approx(math.sqrt(2 * 4))  # gaps -.1 and +.1


def test_a_start_that_is_never_behind_crosses_at_one_try():
    assert crossing_at(K, np.array([0.3, 0.4, 0.5, 0.6]), np.array([0.3, 0.3, 0.3, 0.3])) == 1


def test_a_start_that_never_catches_up_has_no_crossing():
    assert (
        crossing_at(K, np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.2, 0.3, 0.4, 0.5])) == math.inf
    )


def test_an_interval_holds_the_crossing_and_is_open_where_resamples_never_cross():
    rng = np.random.default_rng(0)
    base = rng.random((40, 1))
    before = base * np.array([0.2, 0.5, 0.9, 1.0])
    after = base * np.array([0.4, 0.6, 0.8, 0.9]) + 0.02 * rng.standard_normal((40, 4))
    found = crossing(K, before, after)
    assert 2 < found.low <= found.estimate <= found.high < 4
    never = crossing(K, before, after + 1)
    assert never.low == never.high == never.estimate == math.inf


def test_curves_of_other_problems_are_refused():
    with pytest.raises(ConfigError, match="share"):
        crossing(K, np.zeros((3, 4)), np.zeros((2, 4)))
