"""What of PPO is not in every implementation: adaptive KL, whitened rewards, the dual clip."""

from dataclasses import replace

import pytest
import torch

from burnish.algos.advantages import whiten
from burnish.algos.batch import PolicyOutputs
from burnish.algos.ppo import PPO
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles, made_batch


def measured(kl):
    """Two completions of two tokens whose summed k1 is `kl`."""
    old = doubles([[-1.0, -1.0], [-1.0, -1.0]])
    return made_batch((2, 2), old_logprobs=old, ref_logprobs=old - kl / 2)


@pytest.mark.parametrize(
    ("kl", "expected"), [(6.0, 1 + 0 / 20), (6.6, 1 + 0.1 * 2 / 20), (60.0, 1.02), (0.0, 0.98)]
)
def test_the_price_follows_the_kl_within_a_fifth_of_a_step(kl, expected):
    ppo = PPO(kl_coef=0.5, kl_target=6.0, kl_horizon=20)
    assert ppo.after(measured(kl)).kl_coef == pytest.approx(0.5 * expected)


def test_without_a_target_the_price_stays():
    ppo = PPO(kl_coef=0.5)
    assert ppo.after(measured(60.0)) is ppo
    assert ppo.with_kl_coef(0.25).kl_coef == 0.25


def test_a_target_without_a_price_is_refused():
    with pytest.raises(ConfigError, match="kl_target steers kl_coef"):
        PPO(kl_target=6.0)


def test_whitened_rewards_keep_their_mean():
    batch = made_batch((3, 1, 2), rewards=doubles([[1, 2, 3], [4, 0, 0], [5, 9, 0]]))
    kept = whiten(batch.rewards, batch.mask, keep_mean=True)[batch.mask]
    assert float(kept.mean()) == pytest.approx(float(batch.rewards[batch.mask].mean()))
    assert float(kept.std()) == pytest.approx(1)
    shaped = PPO(whiten_rewards=True).advantages(batch).rewards
    torch.testing.assert_close(shaped[batch.mask], kept)
    same = replace(batch, rewards=torch.full_like(batch.rewards, 2.0))
    assert bool((PPO(whiten_rewards=True).advantages(same).rewards[batch.mask] == 2).all())


@pytest.mark.parametrize(("advantage", "expected"), [(-1.0, 3.0), (1.0, -1.2)])
def test_the_dual_clip_bounds_the_loss_of_bad_actions_that_became_likely(advantage, expected):
    old = doubles([[-3.0]])
    batch = made_batch((1,), old_logprobs=old, advantages=doubles([[advantage]]))
    ppo = PPO(dual_clip=3.0, value_coef=0.0)
    batch = ppo.weights(replace(batch, returns=doubles([[0.0]])))
    new = PolicyOutputs(logprobs=old + torch.tensor(10.0).log(), values=doubles([[0.0]]))
    assert float(ppo.loss(batch, new).total) == pytest.approx(expected)
