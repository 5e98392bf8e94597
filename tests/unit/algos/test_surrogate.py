"""The clipped surrogate: branches, gradients and what is counted."""

import math

import pytest
import torch

from burnish.algos.surrogate import clipped_surrogate
from tests.unit.algos.made import doubles, made_batch


def one(advantage: float, ratio: float, **given):
    """One decision of weight 1; returns its surrogate and the gradient in its logprob."""
    old = doubles([[-1.2]])
    batch = made_batch(
        (1,), old_logprobs=old, advantages=doubles([[advantage]]), weights=doubles([[1.0]]), **given
    )
    logprobs = (old + math.log(ratio)).requires_grad_()
    surrogate = clipped_surrogate(batch, logprobs, 0.2, 0.28)
    return surrogate, float(torch.autograd.grad(surrogate.total, logprobs)[0])


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "gradient"),
    [
        # inside the range: L = -rho A, dL/dlogp = -rho A
        (0.5, 1.1, -0.55, -0.55),
        (-0.5, 1.1, 0.55, 0.55),
        # A > 0 and rho above 1.28: the gain is capped at 1.28 A, no gradient
        (0.5, 1.5, -0.64, 0.0),
        # A < 0 and rho below .8: the loss is capped at .8 |A|, no gradient
        (-0.5, 0.5, 0.4, 0.0),
        # the min is pessimistic: on the other two sides nothing is clipped
        (0.5, 0.5, -0.25, -0.25),
        (-0.5, 1.5, 0.75, 0.75),
    ],
)
def test_the_six_branches_by_hand(advantage, ratio, loss, gradient):
    surrogate, slope = one(advantage, ratio)
    assert float(surrogate.total.detach()) == pytest.approx(loss)
    assert slope == pytest.approx(gradient)
    assert float(surrogate.sums["clip_fraction"]) == float(gradient == 0)


def test_the_published_token_by_hand():
    # logp -1, old -1.2: rho = e^.2 = 1.221403; A = .5, clip .2: min(.6107, .6) = .6
    batch = made_batch(
        (1,),
        old_logprobs=doubles([[-1.2]]),
        advantages=doubles([[0.5]]),
        weights=doubles([[1.0]]),
    )
    assert float(clipped_surrogate(batch, doubles([[-1.0]]), 0.2, 0.2).total) == pytest.approx(-0.6)


def test_without_old_logprobs_the_ratio_is_one_with_reinforces_gradient():
    batch = made_batch((2, 3))
    advantages = torch.randn(2, 3, dtype=torch.float64)
    weights = torch.rand(2, 3, dtype=torch.float64)
    logprobs = batch.old_logprobs.clone().requires_grad_()
    gradients = []
    for old in (None, batch.old_logprobs):
        part = made_batch((2, 3), old_logprobs=old, advantages=advantages, weights=weights)
        surrogate = clipped_surrogate(part, logprobs, 0.2, 0.2)
        assert float(surrogate.sums["clip_fraction"]) == 0
        assert float(surrogate.sums["approx_kl"]) == 0
        gradients.append(torch.autograd.grad(surrogate.total, logprobs)[0])
    expected = torch.where(batch.mask, -weights * advantages, 0.0)
    torch.testing.assert_close(gradients[0], expected)
    torch.testing.assert_close(gradients[1], expected)


def test_approx_kl_estimates_the_kl_from_the_old_policy_to_the_new():
    # Every action of a distribution over four, repeated as often as the old policy takes it.
    counts = [1, 2, 3, 4]
    old = doubles(counts).div(10).log()
    new = doubles([1.5, 0.0, -0.5, -1.0]).log_softmax(0)
    rows = torch.tensor(counts)
    batch = made_batch(
        (1,) * 10,
        old_logprobs=old.repeat_interleave(rows)[:, None],
        advantages=doubles([[0.0]] * 10),
        weights=doubles([[0.1]] * 10),
    )
    sums = clipped_surrogate(batch, new.repeat_interleave(rows)[:, None], 0.2, 0.2).sums
    exact = float((old.exp() * (old - new)).sum())
    assert float(sums["approx_kl"] / sums["decisions"]) == pytest.approx(exact, abs=1e-12)


def test_overflow_in_masked_cells_reaches_neither_value_nor_gradient():
    mask = torch.tensor([[True, False, False]])
    junk = doubles([[-1.0, 1e6, math.nan]]).requires_grad_()
    batch = made_batch(
        (3,),
        mask=mask,
        old_logprobs=doubles([[-1.0, -1e6, math.inf]]),
        advantages=doubles([[2.0, math.nan, 1e6]]),
        weights=doubles([[1.0, 1.0, math.nan]]),
    )
    surrogate = clipped_surrogate(batch, junk, 0.2, 0.2)
    assert float(surrogate.total.detach()) == -2
    gradient = torch.autograd.grad(surrogate.total, junk)[0]
    assert gradient.tolist() == [[-2.0, 0.0, 0.0]]
    assert {k: float(v) for k, v in surrogate.sums.items()} == {
        "clip_fraction": 0,
        "approx_kl": 0,
        "decisions": 1,
    }
