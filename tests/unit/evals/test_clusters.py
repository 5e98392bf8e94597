"""Shares over parts that come in clusters: hand-worked, and beside plain proportions."""

import math

import numpy as np
import pytest

from burnish.evals.clusters import clustered_difference, clustered_share
from burnish.evals.stats import accuracy_interval


def test_the_standard_error_is_that_of_a_ratio() -> None:
    # Shares 1/2, 2/2, 0/1: ratio 3/5; residuals 1 - 1.2, 2 - 1.2, 0 - .6; sum of squares 1.04.
    # Standard error sqrt(3/2 * 1.04)/5 = 0.24980; effective size .24/.0624 = 3.85 -> 3.
    found = clustered_share([1, 2, 0], [2, 2, 1])
    by_hand = accuracy_interval(0.6 * 3, 3)
    assert (found.estimate, found.n) == (0.6, 5)
    assert (found.low, found.high) == pytest.approx((by_hand.low, by_hand.high))


def test_clusters_that_stand_or_fall_together_count_as_one_part_each() -> None:
    rng = np.random.default_rng(0)
    whole = 4.0 * rng.integers(0, 2, 100)
    together = clustered_share(whole.tolist(), [4.0] * 100)
    alone = accuracy_interval(float(whole.sum() / 4), 100)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.02)
    assert together.n == 400


def test_parts_of_one_are_an_ordinary_proportion() -> None:
    values = [1.0] * 30 + [0.0] * 70
    found = clustered_share(values, [1.0] * 100)
    plain = accuracy_interval(30, 100)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.003)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        sizes = rng.integers(1, 4, 60)
        chance = rng.beta(2, 2, 60)  # of a prompt; its instructions share it; the mean is 1/2
        hits = rng.binomial(sizes, chance)
        found = clustered_share(hits.tolist(), sizes.tolist())
        inside += found.low <= 0.5 <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_all_or_nothing_keeps_a_width() -> None:
    found = clustered_share([2.0, 2.0, 1.0, 1.0], [2.0, 2.0, 1.0, 1.0])
    assert found.high == 1.0
    assert found.low == pytest.approx(accuracy_interval(4, 4).low)


def test_one_cluster_has_no_interval_and_none_no_share() -> None:
    one = clustered_share([1.0], [2.0])
    assert one.estimate == 0.5 and math.isnan(one.low)
    assert math.isnan(clustered_share([], []).estimate)


def test_the_difference_is_paired_within_clusters() -> None:
    a, b, sizes = [2.0, 1.0, 1.0, 3.0], [1.0, 1.0, 0.0, 3.0], [2.0, 1.0, 1.0, 3.0]
    found = clustered_difference(a, b, sizes)
    # d = 1, 0, 1, 0; ratio 2/7; residuals 3/7, -2/7, 5/7, -6/7: sum of squares 74/49.
    error = math.sqrt(4 / 3 * 74 / 49) / 7
    assert found.estimate == pytest.approx(2 / 7)
    assert found.high - found.estimate == pytest.approx(3.182446 * error, rel=1e-5)
    same = clustered_difference(a, a, sizes)
    assert (same.estimate, same.low, same.high) == (0.0, 0.0, 0.0)
