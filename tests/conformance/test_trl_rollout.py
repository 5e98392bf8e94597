"""What is made of a rollout before its loss, and around it, against TRL 1.16.

TRL does it inside `_generate_and_score_completions`, which is called here with a rollout that is
already there in place of sampling, models and reward functions.
"""

from collections import defaultdict
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from polgrad.testing import random_batches
from trl.rewards import get_soft_overlong_punishment
from trl.trainer.rloo_trainer import RLOOTrainer

from burnish import conformance
from burnish.algos.batch import PolicyOutputs, RolloutBatch
from burnish.algos.dapo import DAPO, overlong_reward
from burnish.algos.grpo import GRPO
from burnish.algos.rloo import RLOO
from burnish.engine.improve import weighed
from tests.conformance.trl_bare import (
    assert_same,
    bare,
    both,
    grpo_loss,
    grpo_trainer,
    value_and_gradients,
)

GROUPS = torch.arange(8) // 4


def rollouts(gap):
    """Two groups of four completions, and rewards: NaN where none could be given.

    One batch in four has a group that agrees or that nobody could score.
    """
    generator = torch.Generator().manual_seed(5)
    for i, batch in enumerate(random_batches(12, ((8, 6),), seed=7, max_gap=gap)):
        rewards = torch.randn(8, generator=generator, dtype=torch.float64)
        rewards[torch.rand(8, generator=generator) < 0.3 * (i % 3)] = torch.nan
        if i % 4 == 3:
            rewards[:4] = 0.5 if i % 8 == 3 else torch.nan
        longest = int(batch["response_mask"].sum(dim=1).max())
        batch = {name: t[:, :longest] if t.dim() == 2 else t for name, t in batch.items()}
        mask = batch["response_mask"]
        # TRL keeps what the sampler said in float32
        sampled = batch["rollout_logprobs"].float().double()
        more = {"rollout_logprobs": sampled, "completion": mask, "own": torch.ones_like(mask)}
        yield batch | more, rewards


def as_burnish(batch, **given):
    """The batch as the training loop has it."""
    mask = batch["response_mask"]
    nothing = torch.zeros_like(batch["logprobs"])
    made = RolloutBatch(
        mask=mask,
        rewards=nothing,
        scores=nothing[:, 0],
        group=GROUPS,
        terminated=mask,
        truncated=mask,
        sampler_logprobs=batch["rollout_logprobs"],
        old_logprobs=batch["old_logprobs"],
        ref_logprobs=batch["ref_logprobs"],
        advantages=batch["advantages"][:, None].expand(mask.shape),
    )
    return replace(made, **given)


def scored(trainer, batch, rewards):
    """What TRL makes of it: advantages, importance ratios, log-probabilities before the update."""
    reference = object()
    lengths = batch["response_mask"].sum(dim=1).tolist()
    ids, texts = [[1] * n for n in lengths], [""] * len(lengths)
    sampled = [row[:n].tolist() for row, n in zip(batch["rollout_logprobs"], lengths, strict=True)]
    prompts = [[1]] * len(lengths)
    generated = prompts, ids, None, texts, sampled, {}, None, None
    if isinstance(trainer, RLOOTrainer):
        generated = prompts, ids, texts

    def read(model, *_, **__):
        name = "ref_logprobs" if model is reference else "old_logprobs"
        return batch[name], None, None

    vars(trainer).update(
        _generate=lambda prompts: generated,
        _calculate_rewards=lambda *_: rewards[:, None],
        _get_per_token_logps_and_entropies=read,
        ref_model=reference,
        num_generations=4,
        reward_weights=torch.ones(1, dtype=torch.float64),
        reward_func_names=["score"],
        mask_truncated_completions=False,
        pad_to_multiple_of=None,
        _tokenizer=SimpleNamespace(pad_token_id=0),
        _logs=defaultdict(list, rewards=defaultdict(list)),
        _pending_extra_logs={},
        _pending_metrics={},
    )
    return trainer._generate_and_score_completions([{"prompt": ""}] * len(lengths))


SCALED = {"grpo": ("group", {"std_eps": 1e-4}), "dr_grpo": ("none", {})}


@pytest.mark.parametrize("kind", SCALED)
def test_group_advantages_are_those_of_trl_unscorable_completions_included(kind):
    # Both divide by Bessel's deviation plus 1e-4; TRL's n / (n - 1) is rounded to float32.
    scale, knobs = SCALED[kind]
    for batch, rewards in rollouts(0.3):
        expected = scored(grpo_trainer(scale_rewards=scale), batch, rewards)["advantages"]
        found = conformance.advantages(kind, rewards=rewards, group_ids=GROUPS, **knobs)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)


def rloo_trainer(kl_coef=0.0):
    """TRL's, without what Burnish has no like of: clipped rewards, whitened advantages."""
    args = SimpleNamespace(per_device_train_batch_size=8, gradient_checkpointing_kwargs=None)
    return bare(
        RLOOTrainer,
        args=args,
        beta=kl_coef,
        epsilon_low=0.2,
        epsilon_high=0.2,
        reward_clip_range=None,
        normalize_advantages=False,
    )


@pytest.mark.parametrize("kl_coef", [0.0, 0.05])
def test_leave_one_out_advantages_are_those_of_trl_with_the_penalty_in_the_reward(kl_coef):
    # the penalty is k1 of the log-probabilities before the update, summed over the completion
    for batch, rewards in rollouts(0.3):
        expected = scored(rloo_trainer(kl_coef), batch, rewards)["advantages"]
        found = RLOO(kl_coef=kl_coef).advantages(as_burnish(batch, scores=rewards))
        torch.testing.assert_close(found.advantages[:, 0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gap", [0.0, 0.3, 2.0])
def test_rloos_gradient_is_trls_but_for_trls_clipped_ratio(gap):
    # Burnish: A times the gradient of the completion's log-probability, for samples of the policy
    # itself (gap 0). TRL: of the ratio of whole completions, which is that times the ratio, or
    # nothing where the ratio is clipped. The values are not comparable.
    held = 0
    for batch, rewards in rollouts(gap):
        trainer = rloo_trainer()
        made = scored(trainer, batch, rewards)
        moved = (batch["logprobs"] - batch["old_logprobs"]).where(batch["response_mask"], 0.0)
        ratio = moved.sum(dim=1).exp()
        free = torch.where(made["advantages"] > 0, ratio <= 1.2, ratio >= 0.8)
        held += int((~free).sum())

        def burnish(batch, logprobs, factor=free * ratio, made=made):
            return conformance.policy_loss(
                "rloo",
                logprobs=logprobs,
                old_logprobs=batch["old_logprobs"],
                advantages=made["advantages"] * factor,
                response_mask=batch["response_mask"],
            )

        def trl(batch, logprobs, trainer=trainer, made=made):
            entropy = torch.zeros_like(logprobs)
            trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logprobs, entropy, None)
            return trainer._compute_loss(None, made)

        (_, found), (_, expected) = both(burnish, trl, batch)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert (held > 0) == (gap > 0)


@pytest.mark.parametrize("gap", [2.0, 0.3])
def test_truncated_importance_sampling_is_trls_of_single_tokens(gap):
    # TRL's default is another: one ratio a completion, and above the cap it counts for nothing.
    # Neither weighs the penalty.
    grpo = GRPO(kl_coef=0.04)
    capped = 0
    for batch, rewards in rollouts(gap):
        trainer = grpo_trainer(
            beta=0.04,
            use_vllm=True,
            vllm_importance_sampling_mode="token_truncate",
            vllm_importance_sampling_clip_min=None,
            vllm_importance_sampling_clip_max=1.2,
        )
        made = scored(trainer, batch, rewards)
        given = {name: made[name] for name in ("advantages", "importance_sampling_ratio")}
        step = grpo.weights(weighed(as_burnish(batch | given), 1.2))
        capped += int((step.importance == 1.2)[step.mask].sum())

        def burnish(batch, logprobs, step=step):
            return grpo.loss(step, PolicyOutputs(logprobs=logprobs)).total

        assert_same(*both(burnish, partial(grpo_loss, trainer, **given), batch))
    assert capped > 20


def test_a_single_update_needs_no_old_logprobs_in_either():
    grpo = GRPO()

    def burnish(batch, logprobs):
        step = grpo.weights(as_burnish(batch, old_logprobs=None))
        return grpo.loss(step, PolicyOutputs(logprobs=logprobs)).total

    for batch, _ in rollouts(2.0):
        trl = partial(grpo_loss, grpo_trainer(), old_per_token_logps=None)
        assert_same(*both(burnish, trl, batch))


def test_the_entropy_bonus_is_trls_where_every_token_weighs_the_same():
    # TRL's bonus is a mean over tokens under every loss; Burnish's has the weights of its loss, so
    # that the two keep their proportion: they meet in DAPO
    algo = DAPO(entropy_coef=0.01)
    trainer = grpo_trainer(
        loss_type="dapo", epsilon_high=0.28, _entropy_bonus_enabled=True, entropy_coef=0.01
    )
    trainer.accelerator.sync_gradients = False
    for batch, _ in rollouts(0.3):
        logprobs = batch["logprobs"].requires_grad_()
        entropy = (-batch["ref_logprobs"]).requires_grad_()
        outputs = PolicyOutputs(logprobs=logprobs, entropy=entropy)
        found = algo.loss(algo.weights(as_burnish(batch)), outputs).total
        expected = grpo_loss(trainer, batch | {"entropy": entropy}, logprobs)
        leaves = [logprobs, entropy]
        assert_same(value_and_gradients(found, leaves), value_and_gradients(expected, leaves))


@pytest.mark.parametrize(("longest", "buffer"), [(20, 8), (7, 7), (5, 1)])
def test_the_overlong_reward_is_that_of_trl(longest, buffer):
    lengths = range(1, longest + 4)
    found = [overlong_reward(n, max_tokens=longest, buffer=buffer) for n in lengths]
    assert found == get_soft_overlong_punishment(longest, buffer)([[1] * n for n in lengths])
