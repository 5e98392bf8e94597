"""The Bradley-Terry loss: sign, margin, centring, and the scores it recovers."""

import math

import pytest
import torch

from burnish.algos.bradley_terry import bradley_terry_losses, pair_accuracy
from tests.unit.algos.made import doubles


def loss(chosen, rejected, **knobs):
    return float(bradley_terry_losses(doubles([chosen]), doubles([rejected]), **knobs))


def test_pairs_by_hand():
    # log(1 + e^-(2 - 1)) = .313262;  a tie log 2;  the wrong way round log(1 + e) = 1.313262
    assert loss(2, 1) == pytest.approx(0.313262, abs=5e-7)
    assert loss(1, 1) == pytest.approx(math.log(2))
    assert loss(1, 2) == pytest.approx(1.313262, abs=5e-7)


def test_a_margin_asks_for_a_wider_gap():
    assert loss(2, 1, margin=doubles([1.0])) == pytest.approx(math.log(2))
    assert loss(2, 1, margin=doubles([1.0])) > loss(2, 1)


def test_centring_adds_the_squared_sum_and_leaves_opposite_scores_alone():
    assert loss(2, 1, center_coef=0.01) - loss(2, 1) == pytest.approx(0.09)
    assert loss(3, -3, center_coef=0.01) == loss(3, -3)


def test_the_gradient_is_the_probability_of_the_other_order():
    chosen, rejected = doubles([2.0]).requires_grad_(), doubles([1.0]).requires_grad_()
    total = bradley_terry_losses(chosen, rejected).sum()
    up, down = torch.autograd.grad(total, (chosen, rejected))
    other = 1 / (1 + math.e)
    assert float(up) == pytest.approx(-other)
    assert float(down) == pytest.approx(other)


def test_gradients_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()

    def total(scores):
        return bradley_terry_losses(scores[0], scores[1], margin=scores[2], center_coef=0.3)

    assert torch.autograd.gradcheck(total, scores)


def test_a_common_shift_changes_nothing_without_centring_and_gaps_stay_finite():
    assert loss(7, 5) == loss(1002, 1000)
    assert loss(-900, 900) == pytest.approx(1800)
    assert loss(900, -900) == 0


def test_accuracy_counts_ties_as_one_half():
    found = pair_accuracy(doubles([2, 1, 1]), doubles([1, 2, 1]))
    assert found.tolist() == [1, 0, 0.5]


def test_exact_preferences_give_back_the_scores_up_to_a_shift():
    true = doubles([0.0, 1.0, 2.0, 5.0])
    i, j = torch.combinations(torch.arange(4)).T
    beats = torch.sigmoid(true[i] - true[j])
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [scores],
        max_iter=400,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        right = bradley_terry_losses(scores[i], scores[j])
        wrong = bradley_terry_losses(scores[j], scores[i])
        total = (beats * right + (1 - beats) * wrong).sum()
        total.backward()
        return total

    optimiser.step(closure)
    found = scores.detach()
    torch.testing.assert_close(found - found[0], true, atol=1e-5, rtol=0)
