"""DAPO's reward for length, and the two-clip objective by hand."""

import math

import pytest
import torch

from burnish.algos.batch import PolicyOutputs
from burnish.algos.dapo import DAPO, overlong_reward
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles, made_batch


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    [(0, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (100, -1.0), (120, -1.0)],
)
def test_only_the_last_tokens_before_the_limit_cost(num_tokens, expected):
    assert overlong_reward(num_tokens, max_tokens=100, buffer=20) == pytest.approx(expected)


@pytest.mark.parametrize("buffer", [0, 101])
def test_a_buffer_outside_the_limit_is_refused(buffer):
    with pytest.raises(ConfigError, match="buffer must be from 1 to max_tokens=100"):
        overlong_reward(5, max_tokens=100, buffer=buffer)


@pytest.mark.parametrize(
    ("advantage", "ratio", "expected"),
    [(1.0, 1.5, -1.28), (1.0, 1.25, -1.25), (-1.0, 0.5, 0.8), (-1.0, 1.5, 1.5)],
)
def test_the_clip_is_wider_above_than_below(advantage, ratio, expected):
    old = doubles([[-1.0]])
    batch = made_batch((1,), old_logprobs=old, advantages=doubles([[advantage]]))
    new = PolicyOutputs(logprobs=old + math.log(ratio))
    assert float(DAPO().loss(DAPO().weights(batch), new).total) == pytest.approx(expected)


def test_without_a_deviation_advantages_are_scores_less_their_groups_mean():
    batch = made_batch((1, 1, 1, 1), scores=doubles([1, 0, 0, 1]), group=torch.zeros(4).long())
    found = DAPO(std_eps=None).advantages(batch).advantages[:, 0]
    torch.testing.assert_close(found, doubles([0.5, -0.5, -0.5, 0.5]))
    scaled = DAPO().advantages(batch).advantages[:, 0]
    torch.testing.assert_close(scaled, found / (math.sqrt(1 / 3) + 1e-4))
    with pytest.raises(ConfigError, match="std_eps must be above 0, or none"):
        DAPO(std_eps=0.0)


def test_every_token_of_the_step_weighs_the_same():
    weights = DAPO().weights(made_batch((3, 1))).weights
    torch.testing.assert_close(weights, doubles([[0.25, 0.25, 0.25], [0.25, 0, 0]]))
