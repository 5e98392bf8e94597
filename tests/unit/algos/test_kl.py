"""KL estimators, summed over exact distributions: they must estimate KL(policy || ref)."""

import math

import pytest
import torch

from burnish.algos.kl import kl
from tests.unit.algos.made import doubles

POLICY = doubles([1.5, 0.0, -0.5, -1.0]).log_softmax(0)
REF = doubles([-0.5, 0.5, 0.0, 0.7]).log_softmax(0)


def expected(kind: str) -> float:
    return float((POLICY.exp() * kl(kind, policy=POLICY, ref=REF)).sum())


def test_k1_and_k3_estimate_kl_from_policy_to_ref_and_k2_does_not():
    exact = float((POLICY.exp() * (POLICY - REF)).sum())
    assert exact == pytest.approx(0.963886, abs=5e-7)
    assert expected("k1") == pytest.approx(exact, abs=1e-12)
    assert expected("k3") == pytest.approx(exact, abs=1e-12)
    assert expected("k2") == pytest.approx(1.285314, abs=5e-7)


def test_one_token_by_hand():
    # log pi = -1, log ref = -.8: delta = .2; k1 = -.2, k2 = .02, k3 = e^.2 - 1 - .2 = .021403
    policy, ref = doubles([-1.0]), doubles([-0.8])
    assert float(kl("k1", policy=policy, ref=ref)) == pytest.approx(-0.2)
    assert float(kl("k2", policy=policy, ref=ref)) == pytest.approx(0.02)
    assert float(kl("k3", policy=policy, ref=ref)) == pytest.approx(0.021403, abs=5e-7)


@pytest.mark.parametrize(
    ("mean", "spreads"), [(0.1, (20.0, 1.418, 1.417)), (1.0, (2.0, 1.732, 1.695))]
)
def test_spread_of_the_estimators_between_gaussians(mean, spreads):
    # policy N(0, 1), reference N(mean, 1): KL = mean^2 / 2. Sums over a fine grid.
    x = torch.linspace(-14, 14, 200_001, dtype=torch.float64)
    policy, ref = -(x**2) / 2, -((x - mean) ** 2) / 2
    chances = policy.softmax(0)
    true = mean**2 / 2
    for kind, spread in zip(("k1", "k2", "k3"), spreads, strict=True):
        estimate = kl(kind, policy=policy, ref=ref)
        variance = (chances * estimate**2).sum() - (chances * estimate).sum() ** 2
        assert math.sqrt(float(variance)) / true == pytest.approx(spread, abs=6e-4)


def test_equal_policies_are_at_no_distance_and_k2_and_k3_never_negative():
    for kind in ("k1", "k2", "k3"):
        assert bool((kl(kind, policy=POLICY, ref=POLICY) == 0).all())
    assert bool((kl("k2", policy=POLICY, ref=REF) > 0).all())
    assert bool((kl("k3", policy=POLICY, ref=REF) > 0).all())


def test_k3_keeps_its_digits_for_policies_that_nearly_agree():
    # k3 = delta^2/2 + delta^3/6 + ...; exp(delta) - 1 - delta in float32 would give 0 or 1e-7.
    policy = torch.tensor([-1.0])
    ref = torch.tensor([-1.0 + 2**-13])
    assert float(kl("k3", policy=policy, ref=ref)) == pytest.approx(2.0**-27, rel=2e-3)


def gradient_of_expectation(kind: str, *, score_function: bool) -> torch.Tensor:
    logits = doubles([1.5, 0.0, -0.5, -1.0]).requires_grad_()
    logprobs = logits.log_softmax(0)
    chances = logprobs.exp().detach()
    estimate = kl(kind, policy=logprobs, ref=REF)
    if score_function:
        estimate = estimate.detach() * logprobs
    return torch.autograd.grad((chances * estimate).sum(), logits)[0]


def test_gradients_of_k1_in_the_reward_and_of_k2_in_the_loss_are_the_exact_ones():
    logits = doubles([1.5, 0.0, -0.5, -1.0]).requires_grad_()
    logprobs = logits.log_softmax(0)
    exact = torch.autograd.grad((logprobs.exp() * (logprobs - REF)).sum(), logits)[0]
    torch.testing.assert_close(gradient_of_expectation("k1", score_function=True), exact)
    torch.testing.assert_close(gradient_of_expectation("k2", score_function=False), exact)


def test_k3_in_the_loss_has_the_gradient_of_the_reverse_kl_instead():
    # E_pi[grad k3] = E_pi[(1 - ref/pi) grad log pi] = pi - ref: that of KL(ref || pi).
    k3 = gradient_of_expectation("k3", score_function=False)
    torch.testing.assert_close(k3, POLICY.exp() - REF.exp())
    k1 = gradient_of_expectation("k1", score_function=False)
    torch.testing.assert_close(k1, torch.zeros_like(k1))  # and k1's there is none at all
