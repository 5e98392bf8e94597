"""REINFORCE: its advantages, its loss, and what its baseline costs."""

import math

import pytest
import torch

from burnish.algos.batch import PolicyOutputs
from burnish.algos.reinforce import REINFORCE
from tests.unit.algos.made import doubles, loss_and_gradients, made_batch


def test_a_batch_by_hand():
    # scores 3, 1, 2: mean 2, A = 1, -1, 0.   L = -1/3 (1 * (-1 - 2) - 1 * (-4) + 0) = -1/3
    algorithm = REINFORCE()
    batch = made_batch((2, 1, 1), scores=doubles([3, 1, 2]))
    batch = algorithm.weights(algorithm.advantages(batch))
    logprobs = doubles([[-1, -2], [-4, math.nan], [-5, math.nan]]).requires_grad_()
    total, gradient = loss_and_gradients(algorithm, batch, PolicyOutputs(logprobs=logprobs))
    assert float(total) == pytest.approx(-1 / 3)
    third = 1 / 3
    torch.testing.assert_close(gradient, doubles([[-third, -third], [third, 0], [0, 0]]))


def test_without_a_baseline_the_score_itself_weighs():
    batch = REINFORCE(baseline=False).advantages(made_batch((2, 1), scores=doubles([3, -1])))
    assert batch.advantages.tolist() == [[3, 3], [-1, 0]]


@pytest.mark.parametrize("junk", [math.nan, math.inf])
def test_a_score_that_is_no_number_gets_no_advantage_and_no_say_in_the_mean(junk):
    batch = REINFORCE().advantages(made_batch((1, 1, 1), scores=doubles([3, junk, 1])))
    assert batch.advantages[:, 0].tolist() == [1, 0, -1]
    lost = REINFORCE().advantages(made_batch((1, 1), scores=doubles([junk, junk])))
    assert lost.advantages.tolist() == [[0], [0]]
    assert REINFORCE().inert(lost).tolist() == [True, True]


def test_the_better_action_becomes_likelier():
    logits = doubles([0.0, 0.0]).requires_grad_()
    algorithm = REINFORCE()
    batch = made_batch((1, 1), scores=doubles([1, 0]))
    batch = algorithm.weights(algorithm.advantages(batch))
    new = PolicyOutputs(logprobs=logits.log_softmax(0)[:, None])
    slope = torch.autograd.grad(algorithm.loss(batch, new).total, logits)[0]
    assert slope[0] < 0 < slope[1]
