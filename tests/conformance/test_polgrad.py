"""The surface against polgrad, an independent implementation: values and gradients in float64.

Where the two mean different things on purpose it is written here. polgrad whitens with the small
constant under the root (as TRL), Burnish adds it to the deviation (as CleanRL): not compared.
"""

from dataclasses import replace
from functools import partial

import polgrad
import pytest
import torch
from polgrad.testing import assert_conforms, random_batches

from burnish import conformance

REINFORCE = polgrad.PolicyLossConfig(
    ratio=polgrad.RatioKind.TOKEN,
    surrogate=polgrad.SurrogateKind.REINFORCE,
    clip=None,
    aggregation=polgrad.Aggregation.SEQ_MEAN_TOKEN_SUM,
)
REFERENCES = {
    "reinforce": REINFORCE,
    "ppo": polgrad.get_algorithm("ppo").loss,
    "grpo": replace(polgrad.get_algorithm("grpo").loss, kl=None),
}
SHAPES = ((4, 8), (2, 12), (1, 1), (7, 3))
each = pytest.mark.parametrize("algo", sorted(REFERENCES))


@each
def test_policy_losses_conform_far_from_the_old_policy(algo):
    assert_conforms(partial(conformance.policy_loss, algo), REFERENCES[algo], shapes=SHAPES)


def both(ours, reference, batch, names):
    """Loss and gradient of two callables of the same batch."""
    out = []
    for function in (ours, reference):
        logprobs = batch["logprobs"].clone().requires_grad_()
        given = {name: batch[name] for name in names}
        loss = function(logprobs=logprobs, **given)
        out.append((loss.detach(), torch.autograd.grad(loss, logprobs)[0]))
    return out


@each
@pytest.mark.parametrize("gap", [0.3, 1e-3])
def test_policy_losses_conform_near_the_old_policy_where_little_or_nothing_is_clipped(algo, gap):
    names = ("old_logprobs", "advantages", "response_mask")

    def reference(**given):
        return polgrad.policy_loss(REFERENCES[algo], **given).loss

    for batch in random_batches(48, SHAPES, seed=1, max_gap=gap):
        ours, theirs = both(partial(conformance.policy_loss, algo), reference, batch, names)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("gap", [2.0, 0.3, 1e-3])
def test_grpo_conforms_with_its_kl_and_unequal_clips(gap):
    config = polgrad.get_algorithm("grpo").loss
    config = replace(config, clip=polgrad.ClipConfig(eps_low=0.1, eps_high=0.28))
    names = ("old_logprobs", "ref_logprobs", "advantages", "response_mask")
    ours = partial(conformance.policy_loss, "grpo", clip_low=0.1, clip_high=0.28, kl_coef=0.04)

    def reference(**given):
        return polgrad.policy_loss(config, **given).loss

    for batch in random_batches(32, SHAPES, seed=2, max_gap=gap):
        found, expected = both(ours, reference, batch, names)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_a_wrong_normaliser_would_be_noticed():
    with pytest.raises(AssertionError, match="polgrad conformance violation"):
        assert_conforms(partial(conformance.policy_loss, "ppo"), REFERENCES["grpo"])


def test_grpos_advantages_conform():
    generator = torch.Generator().manual_seed(0)
    config = polgrad.GroupNormConfig(center=True, scale="std")
    for _ in range(20):
        rewards = torch.randn(12, generator=generator, dtype=torch.float64)
        group_ids = torch.randperm(12, generator=generator) // 4
        found = conformance.advantages("grpo", rewards=rewards, group_ids=group_ids)
        expected = polgrad.grpo_advantages(rewards, group_ids, config)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_kl_estimators_conform(kind):
    for batch in random_batches(6, SHAPES, seed=3):
        policy, ref, mask = batch["logprobs"], batch["ref_logprobs"], batch["response_mask"]
        found = conformance.kl(kind, policy=policy, ref=ref)
        estimator = polgrad.KLEstimator(kind)
        expected = polgrad.kl_estimate(policy, ref, estimator, response_mask=mask)
        torch.testing.assert_close(found[mask], expected[mask], rtol=1e-9, atol=1e-12)


def test_gae_conforms_on_whole_episodes():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    config = polgrad.GAEConfig(gamma=0.97, lam=0.9)
    mask = torch.ones(3, 6, dtype=torch.bool)
    expected = polgrad.gae(rewards.T, values.T, config=config, response_mask=mask)
    ended = torch.zeros(6, 3, dtype=torch.bool)
    ended[-1] = True
    found = conformance.gae(
        rewards=rewards,
        values=values,
        next_values=torch.cat([values[1:], torch.full((1, 3), torch.nan, dtype=torch.float64)]),
        terminated=ended,
        truncated=torch.zeros_like(ended),
        gamma=0.97,
        gae_lambda=0.9,
    )
    torch.testing.assert_close([x.T for x in found], list(expected))
