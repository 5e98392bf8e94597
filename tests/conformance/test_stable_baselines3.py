"""Generalised advantage estimation against stable-baselines3's rollout buffer.

The buffer knows of one kind of end. A truncated episode is told to it as an ended one whose last
reward has gamma V(the state it was cut at) in it, which its PPO adds while collecting.
"""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.buffers import RolloutBuffer

from burnish import conformance

STEPS, COPIES = 40, 3
discounts = pytest.mark.parametrize("gamma", [1.0, 0.97, 0.5])
lambdas = pytest.mark.parametrize("gae_lambda", [0.0, 0.6, 0.95, 1.0])


def buffered(rewards, values, ended, last_values, gamma, gae_lambda):
    """Stable-baselines3's (advantages, returns), time first, in float64 for once."""
    buffer = RolloutBuffer(
        STEPS, Box(-1, 1), Discrete(2), "cpu", gae_lambda=gae_lambda, gamma=gamma, n_envs=COPIES
    )
    buffer.rewards, buffer.values = rewards.numpy(), values.numpy()
    buffer.advantages, buffer.episode_starts = np.zeros((2, STEPS, COPIES))
    # it marks the first step of an episode, Burnish the last one
    buffer.episode_starts[1:] = ended[:-1].numpy()
    buffer.compute_returns_and_advantage(last_values, ended[-1].numpy())
    return torch.from_numpy(buffer.advantages), torch.from_numpy(buffer.returns)


def episodes(seed):
    """Rewards, values, values of where each step led, and steps that end an episode."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values, after = torch.randn(3, STEPS, COPIES, generator=generator, dtype=torch.float64)
    ended = torch.rand(STEPS, COPIES, generator=generator) < 0.15
    assert ended[:-1].any(dim=0).all()
    # while an episode goes on, the state that a step led to is the one that the next acts in
    after[:-1] = torch.where(ended[:-1], after[:-1], values[1:])
    return rewards, values, after, ended


@discounts
@lambdas
def test_gae_is_that_of_the_buffer_over_episodes_that_terminate_on_the_way(gamma, gae_lambda):
    for seed in range(8):
        rewards, values, after, ended = episodes(seed)
        found = conformance.gae(
            rewards=rewards,
            values=values,
            next_values=torch.where(ended, torch.nan, after),  # what follows an end is never read
            terminated=ended,
            truncated=torch.zeros_like(ended),
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        expected = buffered(rewards, values, ended, after[-1], gamma, gae_lambda)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@discounts
@lambdas
def test_a_truncation_is_an_end_whose_reward_has_the_discounted_value_of_the_cut(gamma, gae_lambda):
    for seed in range(8):
        rewards, values, after, ended = episodes(seed)
        truncated = ended & (torch.arange(COPIES) > 0)  # the first copy's episodes terminate
        found = conformance.gae(
            rewards=rewards,
            values=values,
            next_values=after,
            terminated=ended & ~truncated,
            truncated=truncated,
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        folded = rewards + gamma * after * truncated
        expected = buffered(folded, values, ended, after[-1], gamma, gae_lambda)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_truncation_taken_for_a_termination_would_be_noticed():
    rewards, values, after, ended = episodes(0)
    found = conformance.gae(
        rewards=rewards,
        values=values,
        next_values=after,
        terminated=torch.zeros_like(ended),
        truncated=ended,
        gamma=0.97,
        gae_lambda=0.95,
    )
    expected = buffered(rewards, values, ended, after[-1], 0.97, 0.95)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(found, expected)
