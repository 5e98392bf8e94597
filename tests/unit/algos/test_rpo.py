"""RPO: a divergence of two coins, its limits, and the policy that it leads to."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from burnish.algos.dpo import DPO
from burnish.algos.rpo import RPO
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles, pair_losses

GAPS = doubles([-3.0, -0.4, 0.0, 0.2, 1.0, 5.0])
SAID = doubles([0.5, -2.0, 1.0, 0.0, 1.0, 4.0])


def losses(rpo, gaps, margin):
    """From the policy's gaps to the reference, all of them the chosen answer's."""
    zeros = torch.zeros_like(gaps)
    return pair_losses(
        rpo,
        policy_chosen=gaps,
        policy_rejected=zeros,
        ref_chosen=zeros,
        ref_rejected=zeros,
        margin=margin,
    )


def test_it_is_the_kl_divergence_of_what_the_reward_says_from_what_the_policy_says():
    found = losses(RPO(beta=0.7, eta=1.3), GAPS, SAID)
    expected = kl_divergence(Bernoulli(logits=1.3 * SAID), Bernoulli(logits=0.7 * GAPS))
    torch.testing.assert_close(found, expected)


def test_where_both_say_the_same_there_is_no_loss_and_nothing_to_learn():
    gaps = SAID.clone().requires_grad_()
    found = losses(RPO(beta=2.0, eta=2.0), gaps, SAID)
    slope = torch.autograd.grad(found.sum(), gaps)[0]
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-14, rtol=0)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-14, rtol=0)


def test_the_gradient_closes_the_gap_between_the_two_from_either_side():
    # dL/da = sigmoid(a) - sigmoid(b): a policy that is surer than the reward is held back, which
    # DPO never does
    gaps = GAPS.clone().requires_grad_()
    slope = torch.autograd.grad(losses(RPO(beta=0.5), gaps, SAID).sum(), gaps)[0]
    expected = 0.5 * (torch.sigmoid(0.5 * GAPS) - torch.sigmoid(SAID))
    torch.testing.assert_close(slope, expected)
    assert bool((slope > 0).any()) and bool((slope < 0).any())


def test_a_margin_without_bound_makes_it_dpo():
    sure = losses(RPO(beta=0.7), GAPS, torch.full_like(GAPS, 800.0))
    dpo = losses(DPO(beta=0.7), GAPS, None)
    torch.testing.assert_close(sure, dpo)
    far = losses(RPO(beta=1.0), doubles([-900.0, 900.0]), doubles([900.0, -900.0]))
    torch.testing.assert_close(far, doubles([900.0, 900.0]))


def test_the_minimum_is_the_optimum_of_regularised_reward():
    # beta (log pi_i/ref_i - log pi_j/ref_j) = r_i - r_j for every pair: pi* = ref exp(r / beta) / Z
    ref = doubles([0.5, 0.3, 0.15, 0.05]).log()
    reward = doubles([0, 1, 2, 5])
    i, j = torch.combinations(torch.arange(4)).T
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits],
        max_iter=400,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        policy = logits.log_softmax(0)
        loss = pair_losses(
            RPO(beta=1.0),
            policy_chosen=policy[i],
            policy_rejected=policy[j],
            ref_chosen=ref[i],
            ref_rejected=ref[j],
            margin=reward[i] - reward[j],
        ).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    expected = doubles([0.050790, 0.082837, 0.112587, 0.753787])
    torch.testing.assert_close(logits.detach().softmax(0), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eta", [0.0, -1.0, math.nan, math.inf])
def test_an_eta_that_means_nothing_is_refused(eta):
    with pytest.raises(ConfigError, match="eta must be above 0"):
        RPO(eta=eta)
