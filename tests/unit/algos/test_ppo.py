"""PPO: the KL in its reward, its value loss, and whitening that leaves returns alone."""

import math
from dataclasses import replace

import pytest
import torch

from burnish.algos.batch import PolicyOutputs
from burnish.algos.ppo import PPO
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles, loss_and_gradients, made_batch

NAN = math.nan


def test_the_kl_is_subtracted_from_each_decisions_reward_once_by_hand():
    # k1 = old - ref = .2, -.5; beta .1: rewards 0 - .02, 3 + .05
    batch = made_batch(
        (2, 1),
        rewards=doubles([[0, 3], [1, NAN]]),
        old_logprobs=doubles([[-1.0, -2.0], [-1.0, NAN]]),
        ref_logprobs=doubles([[-1.2, -1.5], [-1.0, NAN]]),
    )
    shaped = PPO(kl_coef=0.1).advantages(batch).rewards
    torch.testing.assert_close(shaped, doubles([[-0.02, 3.05], [1, 0]]))


def test_the_penalty_is_that_of_the_learner_and_not_of_the_sampler():
    batch = made_batch((2, 3))
    shaped = PPO(kl_coef=0.1).advantages(batch).rewards
    rounded = replace(batch, sampler_logprobs=batch.sampler_logprobs + 0.04)
    torch.testing.assert_close(PPO(kl_coef=0.1).advantages(rounded).rewards, shaped, rtol=0, atol=0)
    assert "old_logprobs" in PPO(kl_coef=0.1).needs()


def test_drifting_from_the_reference_costs_and_never_pays():
    batch = made_batch((1,), rewards=doubles([[0.0]]), old_logprobs=doubles([[-0.1]]))
    drifted = replace(batch, ref_logprobs=doubles([[-3.0]]))
    assert float(PPO(kl_coef=0.1).advantages(drifted).rewards) < 0


def test_whitened_advantages_leave_the_returns_of_the_unwhitened_ones():
    batch = made_batch((3, 4))
    plain = PPO(whiten_advantages=False).advantages(batch)
    white = PPO().advantages(batch)
    assert white.advantages[batch.mask].mean().abs() < 1e-12
    assert float(white.advantages[batch.mask].std()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(white.returns, plain.returns, rtol=0, atol=0)
    inside = batch.mask
    torch.testing.assert_close(
        plain.returns[inside], (plain.advantages + batch.values)[inside], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("value", "clip", "loss", "gradient"),
    [
        # old value 1, return 2
        (1.1, 0.2, 0.5 * 0.9**2, -0.9),  # inside: 1/2 (1.1 - 2)^2
        (1.9, 0.2, 0.5 * 0.8**2, 0.0),  # moved too far towards it: 1/2 (1.2 - 2)^2 is larger
        (0.3, 0.2, 0.5 * 1.7**2, -1.7),  # moved away: the unclipped error is the larger
        (1.9, 0.0, 0.5 * 0.1**2, -0.1),  # no clipping
    ],
)
def test_the_value_loss_by_hand(value, clip, loss, gradient):
    ppo = PPO(value_clip=clip, value_coef=1.0)
    batch = made_batch(
        (1,), values=doubles([[1.0]]), returns=doubles([[2.0]]), advantages=doubles([[0.0]])
    )
    values = doubles([[value]]).requires_grad_()
    result = ppo.loss(ppo.weights(batch), PolicyOutputs(logprobs=batch.old_logprobs, values=values))
    assert float(result.total.detach()) == pytest.approx(loss)
    assert float(result.sums["value_loss"]) == pytest.approx(loss)
    assert float(torch.autograd.grad(result.total, values)[0]) == pytest.approx(gradient)


def test_surrogate_value_and_entropy_add_up_with_their_coefficients():
    batch = PPO().weights(PPO().advantages(made_batch()))
    logprobs = batch.old_logprobs + 0.1
    values, entropy = batch.values + 0.3, batch.values.abs()
    new = PolicyOutputs(logprobs=logprobs, values=values, entropy=entropy)

    def total(**coefs):
        return float(PPO(**coefs).loss(batch, new).total)

    policy = total(value_coef=0)
    value = total(value_coef=1) - policy
    assert total(value_coef=0.5, entropy_coef=0.01) == pytest.approx(
        policy + 0.5 * value - 0.01 * float(entropy[batch.mask].mean())
    )
    error = (values - batch.returns)[batch.mask] ** 2
    near = (batch.values + 0.2 - batch.returns)[batch.mask] ** 2
    assert value == pytest.approx(float(torch.maximum(error, near).mean()) / 2)


def test_the_better_action_becomes_likelier_and_entropy_is_sought():
    logits = doubles([1.0, 0.0]).requires_grad_()
    logprobs = logits.log_softmax(0)
    entropy = -(logprobs.exp() * logprobs).sum().expand(2, 1)
    ppo = PPO(value_coef=0.0)
    batch = made_batch((1, 1), rewards=doubles([[1], [0]]), values=doubles([[0.5], [0.5]]))
    batch = replace(batch, old_logprobs=None)
    batch = ppo.weights(ppo.advantages(batch))
    zeros = torch.zeros(2, 1, dtype=torch.float64)
    new = PolicyOutputs(logprobs=logprobs[:, None], values=zeros, entropy=entropy)
    free = torch.autograd.grad(ppo.loss(batch, new).total, logits, retain_graph=True)[0]
    assert free[0] < 0 < free[1]
    curious = PPO(value_coef=0.0, entropy_coef=1.0)
    held = torch.autograd.grad(curious.loss(batch, new).total, logits)[0]
    assert held[0] > free[0]  # the likelier action is held back


def test_a_rollout_of_equal_rewards_teaches_a_fresh_policy_nothing():
    # A constant score and a value head at zero, in float32: rounding must not become a signal.
    size = (64, 1)
    batch = made_batch(
        (1,) * 64,
        rewards=torch.full(size, 0.3),
        values=torch.zeros(size),
        next_values=torch.zeros(size),
    )
    assert PPO().advantages(batch).advantages.abs().max() == 0


def test_rows_without_decisions_are_inert_and_others_are_not():
    batch = made_batch((2, 2), mask=torch.tensor([[True, True], [False, False]]))
    assert PPO().inert(batch).tolist() == [False, True]


def test_gradients_do_not_flow_from_what_was_annotated():
    batch = PPO().weights(PPO().advantages(made_batch()))
    new = PolicyOutputs(
        logprobs=(batch.old_logprobs + 0.1).requires_grad_(),
        values=(batch.values + 0.1).requires_grad_(),
    )
    loss_and_gradients(PPO(), batch, new)
    assert not batch.advantages.requires_grad
    assert not batch.returns.requires_grad


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("clip", 0),
        ("clip", 1),
        ("gamma", 0),
        ("gamma", 1.01),
        ("gae_lambda", -0.1),
        ("kl_coef", -1),
        ("value_coef", NAN),
        ("value_clip", -0.2),
        ("entropy_coef", -1),
    ],
)
def test_knobs_out_of_range_are_refused_by_name(knob, value):
    with pytest.raises(ConfigError, match=knob):
        PPO(**{knob: value})
