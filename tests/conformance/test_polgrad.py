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
from burnish.algos.batch import PolicyOutputs, RolloutBatch
from burnish.algos.grpo import GRPO
from burnish.engine.improve import weighed

REINFORCE = polgrad.PolicyLossConfig(
    ratio=polgrad.RatioKind.TOKEN,
    surrogate=polgrad.SurrogateKind.REINFORCE,
    clip=None,
    aggregation=polgrad.Aggregation.SEQ_MEAN_TOKEN_SUM,
)
BUDGET = 17
REFERENCES = {
    "reinforce": REINFORCE,
    "rloo": polgrad.get_algorithm("rloo").loss,
    "reinforce_pp": polgrad.get_algorithm("reinforce_pp").loss,
    "ppo": polgrad.get_algorithm("ppo").loss,
    "grpo": replace(polgrad.get_algorithm("grpo").loss, kl=None),
    "dr_grpo": replace(polgrad.get_algorithm("dr_grpo").loss, norm_len=BUDGET),
    "dapo": polgrad.get_algorithm("dapo").loss,
    "gspo": polgrad.get_algorithm("gspo").loss,
    "cispo": polgrad.get_algorithm("cispo").loss,
}
SHAPES = ((4, 8), (2, 12), (1, 1), (7, 3))
each = pytest.mark.parametrize("algo", sorted(REFERENCES))


def ours(algo):
    """Burnish's loss, with the budget that polgrad wants named."""
    knobs = {"budget": BUDGET} if algo == "dr_grpo" else {}
    return partial(conformance.policy_loss, algo, **knobs)


@each
def test_policy_losses_conform_far_from_the_old_policy(algo):
    assert_conforms(ours(algo), REFERENCES[algo], shapes=SHAPES)


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
        found, expected = both(ours(algo), reference, batch, names)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("gap", [2.0, 0.3, 1e-3])
def test_grpo_conforms_with_its_kl_and_unequal_clips(gap):
    config = polgrad.get_algorithm("grpo").loss
    config = replace(config, clip=polgrad.ClipConfig(eps_low=0.1, eps_high=0.28))
    names = ("old_logprobs", "ref_logprobs", "advantages", "response_mask")
    loss = partial(conformance.policy_loss, "grpo", clip_low=0.1, clip_high=0.28, kl_coef=0.04)

    def reference(**given):
        return polgrad.policy_loss(config, **given).loss

    for batch in random_batches(32, SHAPES, seed=2, max_gap=gap):
        found, expected = both(loss, reference, batch, names)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("gap", [2.0, 0.3, 1e-3])
def test_the_dual_clip_conforms(gap):
    config = polgrad.get_algorithm("ppo").loss
    config = replace(config, clip=replace(config.clip, ratio_cap=1.5))
    names = ("old_logprobs", "advantages", "response_mask")

    def reference(**given):
        return polgrad.policy_loss(config, **given).loss

    for batch in random_batches(32, SHAPES, seed=4, max_gap=gap):
        loss = partial(conformance.policy_loss, "ppo", dual_clip=1.5)
        found, expected = both(loss, reference, batch, names)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_truncated_importance_sampling_conforms():
    config = replace(polgrad.get_algorithm("grpo_tis").loss, kl=None)
    grpo = GRPO()
    for batch in random_batches(32, SHAPES, seed=5, max_gap=0.3):
        mask, old = batch["response_mask"], batch["old_logprobs"]
        rollout = old + torch.linspace(-3, 3, old.numel()).view_as(old).double()
        nothing = torch.zeros_like(old)
        made = RolloutBatch(
            mask=mask,
            rewards=nothing,
            scores=nothing[:, 0],
            group=torch.zeros(len(mask), dtype=torch.int64),
            terminated=mask,
            truncated=mask,
            sampler_logprobs=rollout,
            old_logprobs=old,
            advantages=batch["advantages"][:, None].expand(mask.shape),
        )

        def loss(logprobs, made=made):
            step = grpo.weights(weighed(made, 10.0))
            return grpo.loss(step, PolicyOutputs(logprobs=logprobs)).total

        def reference(logprobs, batch=batch, rollout=rollout):
            given = {n: batch[n] for n in ("old_logprobs", "advantages", "response_mask")}
            return polgrad.policy_loss(
                config, logprobs=logprobs, rollout_logprobs=rollout, **given
            ).loss

        found, expected = both(loss, reference, batch, ())
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_a_wrong_normaliser_would_be_noticed():
    with pytest.raises(AssertionError, match="polgrad conformance violation"):
        assert_conforms(partial(conformance.policy_loss, "ppo"), REFERENCES["grpo"])


STD = polgrad.GroupNormConfig(center=True, scale="std")
CENTRED = polgrad.GroupNormConfig(center=True, scale="none")
WHOLE = polgrad.ReinforcePPConfig(batch_norm=True)
ADVANTAGES = {
    "grpo": lambda r, g: polgrad.grpo_advantages(r, g, STD),
    "dr_grpo": lambda r, g: polgrad.grpo_advantages(r, g, CENTRED),
    "rloo": lambda r, g: polgrad.advantages.rloo_advantages(r, g),
    "reinforce_pp": lambda r, g: polgrad.advantages.reinforce_pp_advantages(r, config=WHOLE),
}


@pytest.mark.parametrize("kind", sorted(ADVANTAGES))
def test_advantages_conform(kind):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rewards = torch.randn(12, generator=generator, dtype=torch.float64)
        group_ids = torch.randperm(12, generator=generator) // 4
        found = conformance.advantages(kind, rewards=rewards, group_ids=group_ids)
        expected = ADVANTAGES[kind](rewards, group_ids)
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
