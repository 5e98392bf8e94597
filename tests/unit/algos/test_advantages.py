"""Group baselines, whitening and the limits of generalised advantage estimation."""

import math

import pytest
import torch

from burnish.algos.advantages import all_equal, gae, group_means, next_decision_values, whiten
from tests.unit.algos.made import doubles, made_batch

NAN = math.nan


def test_group_mean_and_bessels_deviation_by_hand():
    # 1, 0, 0, 1: mean 1/2, variance 4 * 1/4 / 3 = 1/3;  5, 7: mean 6, variance 2
    scores, group = doubles([1, 5, 0, 0, 7, 1]), torch.tensor([0, 1, 0, 0, 1, 0])
    mean, std, count = group_means(scores, group)
    assert mean.tolist() == [0.5, 6, 0.5, 0.5, 6, 0.5]
    assert count.tolist() == [4, 2, 4, 4, 2, 4]
    torch.testing.assert_close(std[:2], doubles([1 / 3, 2.0]).sqrt())


@pytest.mark.parametrize("junk", [NAN, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_left_out_of_its_groups_statistics(junk):
    scores, group = doubles([1, junk, 3, junk, 4]), torch.tensor([0, 0, 0, 1, 1])
    mean, std, count = group_means(scores, group)
    assert mean.tolist() == [2, 2, 2, 4, 4]
    assert count.tolist() == [2, 2, 2, 1, 1]
    torch.testing.assert_close(std, doubles([2, 2, 2, 0, 0]).sqrt())
    assert all_equal(scores, group).tolist() == [False] * 3 + [True] * 2


def test_groups_without_any_score_have_no_mean_but_zero():
    mean, std, count = group_means(doubles([NAN, NAN]), torch.tensor([0, 0]))
    assert mean.tolist() == std.tolist() == count.tolist() == [0, 0]
    assert all_equal(doubles([NAN, NAN]), torch.tensor([0, 0])).tolist() == [True, True]


def test_equal_scores_are_found_equal_though_their_mean_is_not():
    scores = torch.tensor([0.1] * 7)
    assert float(scores.mean()) != float(scores[0])
    assert bool(all_equal(scores, torch.zeros(7, dtype=torch.int64)).all())


def test_whitening_gives_mean_zero_and_spread_one_over_unmasked_cells():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = doubles([[1.0, 2.0, NAN], [6.0, 1e6, NAN]])
    # mean 3, squares 4 + 1 + 9 = 14, Bessel 14/2 = 7
    expected = doubles([[-2, -1, 0], [3, 0, 0]]) / math.sqrt(7)
    torch.testing.assert_close(whiten(values, mask), expected, rtol=1e-7, atol=0)


def test_whitening_finds_no_signal_in_equal_values():
    # In float32 the mean of these is not their common value: divided by a spread that is rounding
    # itself, the difference would be a full-sized advantage for every decision.
    values = torch.full((8, 4), 0.3)
    mask = torch.ones(8, 4, dtype=torch.bool)
    assert whiten(values, mask).abs().max() == 0


def test_whitening_leaves_a_single_decision_as_it_is():
    mask = torch.tensor([[True, False]])
    assert whiten(doubles([[3.0, 0.0]]), mask).tolist() == [[3.0, 0.0]]


def test_the_next_decision_is_found_behind_gaps():
    mask = torch.tensor([[True, False, False, True, True, False]])
    values = doubles([[1.0, NAN, 1e6, 2.0, 3.0, NAN]])
    following = next_decision_values(values, mask)
    assert following[mask].tolist() == [2.0, 3.0, 0.0]


def estimated(batch, gae_lambda, gamma=0.9):
    return gae(
        rewards=batch.rewards,
        values=batch.values,
        next_values=next_decision_values(batch.values, batch.mask),
        terminated=batch.terminated,
        truncated=batch.truncated,
        mask=batch.mask,
        gamma=gamma,
        gae_lambda=gae_lambda,
    )


def test_lambda_one_is_the_return_minus_the_value():
    batch = made_batch((4, 2), rewards=doubles([[1, 2, 3, 4], [5, 6, NAN, NAN]]))
    advantages, returns = estimated(batch, 1.0)
    # 1 + .9 * 2 + .81 * 3 + .729 * 4 = 8.146;  5 + .9 * 6 = 10.4
    assert float(returns[0, 0]) == pytest.approx(8.146)
    assert float(returns[1, 0]) == pytest.approx(10.4)
    torch.testing.assert_close(advantages[0], returns[0] - batch.values[0])


def test_lambda_zero_is_the_one_step_error():
    batch = made_batch((3,), rewards=doubles([[1, 2, 3]]))
    v = batch.values[0]
    advantages, _ = estimated(batch, 0.0)
    expected = torch.stack([1 + 0.9 * v[1] - v[0], 2 + 0.9 * v[2] - v[1], 3 - v[2]])
    torch.testing.assert_close(advantages[0], expected)


def test_what_is_not_read_may_be_anything():
    batch = made_batch((2, 4))
    advantages, returns = estimated(batch, 0.7)
    junk = torch.where(batch.mask, 0.0, NAN)
    spoilt = gae(
        rewards=batch.rewards + junk,
        values=batch.values + junk,
        # also where an episode ended: nothing follows it, so nobody may have scored it
        next_values=torch.where(
            batch.terminated, NAN, next_decision_values(batch.values, batch.mask) + junk
        ),
        terminated=batch.terminated,
        truncated=batch.truncated,
        mask=batch.mask,
        gamma=0.9,
        gae_lambda=0.7,
    )
    torch.testing.assert_close(spoilt, (advantages, returns), rtol=0, atol=0)
