"""Bradley-Terry strengths: by hand, recovered from what they predict, refused where none exist."""

import math

import numpy as np
import pytest

from burnish.errors import ConfigError, DataError
from burnish.evals.bradley_terry import bradley_terry_fit


def test_two_items_differ_by_the_log_odds():
    fitted = bradley_terry_fit([(0, 1)] * 3 + [(1, 0)], 2)
    assert fitted == pytest.approx([math.log(3) / 2, -math.log(3) / 2])


def test_planted_strengths_come_back_from_their_own_expected_wins():
    planted = np.array([1.0, 0.2, -0.3, -0.9])
    pairs = []
    for i in range(4):
        for j in range(i):
            chance = 1 / (1 + math.exp(planted[j] - planted[i]))
            pairs += [(i, j)] * round(10_000 * chance) + [(j, i)] * round(10_000 * (1 - chance))
    assert bradley_terry_fit(pairs, 4) == pytest.approx(planted.tolist(), abs=2e-4)


def test_the_fit_is_where_the_likelihood_is_flat():
    generator = np.random.default_rng(0)
    pairs = [tuple(int(i) for i in generator.permutation(5)[:2]) for _ in range(200)]
    fitted = np.array(bradley_terry_fit(pairs, 5))
    gradient = np.zeros(5)
    for winner, loser in pairs:
        lost = 1 / (1 + math.exp(fitted[winner] - fitted[loser]))
        gradient[winner] += lost
        gradient[loser] -= lost
    assert np.abs(gradient).max() < 1e-8
    assert fitted.sum() == pytest.approx(0)


@pytest.mark.parametrize(
    ("pairs", "group"),
    [
        ([(0, 1), (0, 2), (1, 2), (2, 1)], "0 never lost to"),
        ([(0, 1), (1, 0), (2, 3), (3, 2)], "0, 1 never beat"),
        ([(0, 1), (1, 0), (1, 2)], "0, 1 never lost to"),
    ],
)
def test_where_no_finite_fit_exists_it_is_refused(pairs, group):
    with pytest.raises(DataError, match=f"no finite Bradley-Terry fit exists: the items {group}"):
        bradley_terry_fit(pairs, 1 + max(max(p) for p in pairs))


@pytest.mark.parametrize("pair", [(0, 0), (0, 3), (-1, 1)])
def test_pairs_that_are_none_are_refused(pair):
    with pytest.raises(ConfigError, match="two different items"):
        bradley_terry_fit([pair], 3)
