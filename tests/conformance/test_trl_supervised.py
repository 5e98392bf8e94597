"""The losses of reward models and of demonstrations against TRL 1.16, in value and gradient."""

from types import SimpleNamespace

import pytest
import torch
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_trainer import SFTTrainer

from burnish import conformance
from burnish.algos.sft import SFTLoss
from tests.conformance.bigram import Bigram, Pairs, padded
from tests.conformance.trl_bare import assert_same, bare, value_and_gradients


@pytest.mark.parametrize("center", [None, 0.01, 0.5])
@pytest.mark.parametrize("with_margin", [False, True])
def test_the_reward_loss_is_that_of_trl(center, with_margin):
    # both add the square of the *sum* of a pair's scores
    generator = torch.Generator().manual_seed(0)
    trainer = bare(RewardTrainer, args=SimpleNamespace(center_rewards_coefficient=center))
    for num in (1, 2, 7, 30):
        scores = 2 * torch.randn(2 * num, generator=generator, dtype=torch.float64)
        scores.requires_grad_()
        margin = torch.rand(num, generator=generator, dtype=torch.float64) if with_margin else None
        found = conformance.bradley_terry_loss(
            *scores.chunk(2), margin=margin, center_coef=center or 0.0
        )
        inputs = {"attention_mask": torch.ones(2 * num, 3)}
        given = inputs if margin is None else inputs | {"margin": margin}

        def model(scores=scores, **_):
            return SimpleNamespace(logits=scores[:, None])

        expected = trainer.compute_loss(model, given)
        assert_same(value_and_gradients(found, [scores]), value_and_gradients(expected, [scores]))


def test_sft_is_that_of_trl_over_all_micro_batches_of_a_step():
    # TRL is told the tokens of the whole step (`num_items_in_batch`) and sums over micro-batches;
    # Burnish weighs the step before it is split. Its weights are in float32.
    trainer = bare(
        SFTTrainer,
        compute_loss_func=None,
        label_smoother=None,
        args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=False),
    )
    for seed in range(6):
        policy, pairs = Bigram(seed), Pairs.random(seed)
        rows = padded(pairs.prompts, pairs.chosen)
        labels = rows["input_ids"].masked_fill(rows.pop("completion_mask") == 0, -100)
        mask = labels[:, 1:] != -100
        micro = [
            trainer.compute_loss(
                policy,
                {"labels": labels[part]} | {name: row[part] for name, row in rows.items()},
                num_items_in_batch=mask.sum(),
            )
            for part in (slice(0, 1), slice(1, 5))
        ]
        expected = value_and_gradients(sum(micro), policy.parameters())
        logprobs = policy(rows["input_ids"], labels=labels).log_probs
        loss = SFTLoss()
        found = loss.loss(torch.where(mask, logprobs, torch.nan), loss.weights(mask), mask)
        assert_same(value_and_gradients(found, policy.parameters()), expected, rtol=1e-6)
