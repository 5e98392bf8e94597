"""Outcome, process and attribute rewards: losses by hand, and scores made of steps."""

import math

import pytest
import torch

from burnish.algos.attribute_reward import attribute_losses
from burnish.algos.outcome_reward import outcome_losses
from burnish.algos.process_reward import process_losses, solution_score
from tests.unit.algos.made import doubles


def test_outcomes_by_hand():
    # sigmoid(ln 3) = 3/4: -log 3/4 where right, -log 1/4 where wrong, half of each in between
    z = doubles([math.log(3)] * 3)
    found = outcome_losses(z, doubles([1.0, 0.0, 0.5])).tolist()
    right, wrong = -math.log(0.75), -math.log(0.25)
    assert found == pytest.approx([right, wrong, (right + wrong) / 2])


def test_the_gradient_is_what_was_said_minus_what_was_so():
    z = doubles([0.3, -2.0, 4.0]).requires_grad_()
    labels = doubles([1.0, 0.0, 0.25])
    (found,) = torch.autograd.grad(outcome_losses(z, labels).sum(), z)
    torch.testing.assert_close(found, torch.sigmoid(z.detach()) - labels)


def test_a_soft_label_is_best_met_by_its_own_probability():
    label = doubles([0.3])
    at = [float(outcome_losses(torch.logit(doubles([p])), label)) for p in (0.2, 0.3, 0.4)]
    assert at[1] < min(at[0], at[2])


def test_losses_stay_finite_where_the_head_is_sure():
    far = outcome_losses(doubles([900.0, -900.0]), doubles([0.0, 1.0]))
    assert far.tolist() == [900.0, 900.0]


def test_steps_are_judged_by_the_same_cross_entropy():
    z, labels = doubles([0.7, -0.2]), doubles([1.0, 0.0])
    assert torch.equal(process_losses(z, labels), outcome_losses(z, labels))


def test_a_solutions_score_by_hand():
    steps = torch.logit(doubles([0.9, 0.5, 0.8]))
    assert float(solution_score(steps, "product")) == pytest.approx(0.36)
    assert float(solution_score(steps, "min")) == pytest.approx(0.5)
    assert float(solution_score(steps, "last")) == pytest.approx(0.8)
    for aggregate in ("product", "min", "last"):  # one step: its own probability
        assert float(solution_score(steps[:1], aggregate)) == pytest.approx(0.9)


def test_only_the_product_falls_with_every_further_step():
    good = torch.logit(doubles([0.9] * 5))
    assert float(solution_score(good, "product")) < float(solution_score(good[:2], "product"))
    assert float(solution_score(good, "min")) == float(solution_score(good[:2], "min"))


def test_attributes_are_regressed_each_by_itself():
    found = attribute_losses(doubles([[3.0, 1.0], [0.0, 2.0]]), doubles([[4.0, 1.0], [2.0, 1.5]]))
    assert found.tolist() == [[1.0, 0.0], [4.0, 0.25]]
