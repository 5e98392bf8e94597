"""DPO: published numbers, its gradient, its limits, and the optimum it shares with RL."""

import math

import pytest
import torch

from burnish.algos.dpo import DPO
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles, pair_losses


def losses(dpo, gain_chosen, gain_rejected, at=-20.0):
    """From log-ratios to the reference; what the reference says must not matter."""
    gain_chosen, gain_rejected = (
        torch.as_tensor(gain, dtype=torch.float64).view(-1) for gain in (gain_chosen, gain_rejected)
    )
    ref_chosen = torch.full_like(gain_chosen, at)
    ref_rejected = torch.full_like(gain_rejected, 1.7 * at)
    return pair_losses(
        dpo,
        policy_chosen=ref_chosen + gain_chosen,
        policy_rejected=ref_rejected + gain_rejected,
        ref_chosen=ref_chosen,
        ref_rejected=ref_rejected,
    )


def test_the_published_pair_by_hand():
    # h = 1 - (-.5) = 1.5, beta .1: -log sigmoid(.15) = log(1 + e^-.15) = .620957
    assert float(losses(DPO(), 1.0, -0.5)) == pytest.approx(0.620957, abs=5e-7)
    # a label wrong one time in ten: .9 * .620957 + .1 * log(1 + e^.15) = .635957
    smoothed = float(losses(DPO(label_smoothing=0.1), 1.0, -0.5))
    assert smoothed == pytest.approx(0.635957, abs=5e-7)


def test_at_the_reference_every_pair_costs_log_two():
    for dpo in (DPO(), DPO(beta=3.0), DPO(label_smoothing=0.3)):
        assert float(losses(dpo, 0.0, 0.0)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_as_the_paper_says(smoothing):
    # dL/d chosen = -beta (sigmoid(-beta h) - smoothing); the rejected one's is its opposite
    beta, dpo = 0.4, DPO(beta=0.4, label_smoothing=smoothing)
    chosen = doubles([0.3, -2.0, 0.1]).requires_grad_()
    rejected = doubles([-0.2, 1.0, 0.1]).requires_grad_()
    zeros = torch.zeros(3, dtype=torch.float64)
    loss = pair_losses(
        dpo, policy_chosen=chosen, policy_rejected=rejected, ref_chosen=zeros, ref_rejected=zeros
    )
    up, down = torch.autograd.grad(loss.sum(), (chosen, rejected))
    expected = -beta * (torch.sigmoid(-beta * (chosen - rejected).detach()) - smoothing)
    torch.testing.assert_close(up, expected)
    torch.testing.assert_close(down, -expected)
    assert bool((up < 0).all())  # a step downhill makes the chosen one likelier


def test_gradients_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    ratios = [
        torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(4)
    ]
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")

    def total(*values):
        return pair_losses(
            DPO(beta=0.7, label_smoothing=0.1), **dict(zip(names, values, strict=True))
        )

    assert torch.autograd.gradcheck(total, ratios)


def test_a_pair_that_is_far_apart_stays_finite():
    right, wrong = losses(DPO(beta=1.0), 900.0, -900.0), losses(DPO(beta=1.0), -900.0, 900.0)
    assert float(right) == 0
    assert float(wrong) == pytest.approx(1800)


def test_towards_beta_zero_the_gradient_is_half_beta_whatever_the_margin():
    beta = 1e-6
    chosen = doubles([5.0]).requires_grad_()
    zero = doubles([0.0])
    loss = pair_losses(
        DPO(beta=beta),
        policy_chosen=chosen,
        policy_rejected=zero,
        ref_chosen=zero,
        ref_rejected=zero,
    )
    slope = float(torch.autograd.grad(loss.sum(), chosen)[0])
    assert slope / beta == pytest.approx(-0.5, abs=1e-5)


def test_pairs_are_scored_each_on_its_own():
    both = losses(DPO(), doubles([1.0, 2.0]), doubles([-0.5, 0.0]))
    assert both.tolist() == [float(losses(DPO(), 1.0, -0.5)), float(losses(DPO(), 2.0, 0.0))]


def minimised(objective, size):
    logits = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits],
        max_iter=400,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = objective(logits.log_softmax(0))
        loss.backward()
        return loss

    optimiser.step(closure)
    return logits.detach().softmax(0)


REF = doubles([0.5, 0.3, 0.15, 0.05])
REWARD = doubles([0, 1, 2, 5])


def test_on_exact_preferences_the_minimum_is_the_optimum_of_regularised_reward():
    # pi* = ref exp(r) / Z = (.050790, .082837, .112587, .753787) at beta 1, from
    # P(i beats j) = sigmoid(r_i - r_j) over all pairs
    i, j = torch.combinations(torch.arange(4)).T
    beats = torch.sigmoid(REWARD[i] - REWARD[j])
    ref, dpo = REF.log(), DPO(beta=1.0)

    def objective(policy):
        def against(a, b):
            return pair_losses(
                dpo,
                policy_chosen=policy[a],
                policy_rejected=policy[b],
                ref_chosen=ref[a],
                ref_rejected=ref[b],
            )

        return (beats * against(i, j) + (1 - beats) * against(j, i)).sum()

    expected = doubles([0.050790, 0.082837, 0.112587, 0.753787])
    torch.testing.assert_close(minimised(objective, 4), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("smoothing", [0.05, 0.2])
def test_smoothing_stops_at_the_margin_where_the_label_is_that_sure(smoothing):
    # one pair, always labelled the same: without smoothing h would grow for ever, with it
    # sigmoid(beta h) = 1 - smoothing
    ref, dpo = doubles([0.5, 0.5]).log(), DPO(beta=0.5, label_smoothing=smoothing)

    def objective(policy):
        return pair_losses(
            dpo,
            policy_chosen=policy[:1],
            policy_rejected=policy[1:],
            ref_chosen=ref[:1],
            ref_rejected=ref[1:],
        ).sum()

    best = minimised(objective, 2).log()
    assert float(torch.sigmoid(0.5 * (best[0] - best[1]))) == pytest.approx(1 - smoothing, abs=1e-6)


@pytest.mark.parametrize(
    ("knob", "value"),
    [("beta", 0), ("beta", -1), ("beta", math.nan), ("label_smoothing", 0.5)],
)
def test_knobs_without_a_meaning_are_refused_by_name(knob, value):
    with pytest.raises(ConfigError, match=knob):
        DPO(**{knob: value})
