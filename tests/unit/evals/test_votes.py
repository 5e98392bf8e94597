"""Weighted votes: equal to plain ones under equal weights, and by hand."""

from collections import Counter

import pytest

from burnish.errors import ConfigError
from burnish.evals.stats import majority_at_k
from burnish.evals.votes import SUBSETS, weighted_vote_at_k

POOL = ["7", "8", "7", "9", "8", "7", "10"]


@pytest.mark.parametrize("k", range(1, 8))
def test_equal_weights_are_a_majority_vote(k):
    found = weighted_vote_at_k(POOL, [0.3] * 7, "7", k, seed=0)
    assert found == pytest.approx(majority_at_k(Counter(POOL), "7", k))


def test_a_vote_by_hand():
    # of the three pairs: (7, 8) is won by 7, (7, 8') by 8 with .5, and 8 is alone in (8, 8')
    assert weighted_vote_at_k(["7", "8", "8"], [0.4, 0.3, 0.5], "7", 2, seed=0) == pytest.approx(
        1 / 3
    )
    assert weighted_vote_at_k(["7", "8", "8"], [0.9, 0.3, 0.5], "7", 3, seed=0) == 1.0
    assert weighted_vote_at_k(["7", "8", "8"], [0.7, 0.3, 0.5], "7", 3, seed=0) == 0.0


def test_ties_share_the_win_also_of_weights_that_are_zero():
    assert weighted_vote_at_k(["7", "8"], [0.5, 0.5], "7", 2, seed=0) == 0.5
    assert weighted_vote_at_k(["7", "8"], [0.0, 0.0], "7", 2, seed=0) == 0.5


def test_an_answer_that_nobody_gave_never_wins():
    assert weighted_vote_at_k(["7", "8"], [1.0, 1.0], "9", 1, seed=0) == 0.0


def test_where_subsets_are_drawn_they_come_close_to_all_of_them():
    pool = ["7"] * 12 + ["8"] * 12 + ["9"] * 8
    exact = majority_at_k(Counter(pool), "7", 8)
    found = [weighted_vote_at_k(pool, [1.0] * 32, "7", 8, seed=s) for s in range(20)]
    assert len(set(found)) > 1
    assert sum(found) / 20 == pytest.approx(exact, abs=4 * 0.5 / (20 * SUBSETS) ** 0.5)


@pytest.mark.parametrize(
    ("weights", "k", "message"),
    [([1.0], 1, "one weight"), ([1.0, -0.1], 1, "at least 0"), ([1.0, 1.0], 3, "1 <= k")],
)
def test_nonsense_is_refused(weights, k, message):
    with pytest.raises(ConfigError, match=message):
        weighted_vote_at_k(["7", "8"], weights, "7", k, seed=0)
