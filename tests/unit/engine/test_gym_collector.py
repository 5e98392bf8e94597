from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from burnish import rng
from burnish.algos.batch import Loss
from burnish.algos.ppo import PPO
from burnish.engine.gym_collector import GymCollector, draw
from burnish.engine.mlp_learner import MLPLearner
from burnish.engine.optim import Optim
from burnish.envs.copies import OneByOne
from burnish.envs.gym import EnvPool
from burnish.errors import CheckpointError, ConfigError, TrainingError
from burnish.models.mlp import ActorCritic

SCRIPT = ((2, "terminated"), (3, "truncated"), (1, "both"))
"""(length, how it ends) of each episode, over and over."""


class Scripted(gymnasium.Env):
    """Observation: [number of the episode, steps done]. Reward: the step's number."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.done = 0
        return self.look(), {}

    def step(self, action):
        self.done += 1
        length, how = SCRIPT[self.episode % len(SCRIPT)]
        end = self.done == length
        terminated = end and how != "truncated"
        truncated = end and how != "terminated"
        return self.look(), float(self.done), terminated, truncated, {}

    def look(self):
        return np.array([self.episode, self.done], np.float32)


def setup(num_envs=1, rollout_steps=7, make=Scripted, lr=1e-2):
    model = ActorCritic(num_observations=2, num_actions=2, hidden=(8,), seed=0)
    learner = MLPLearner(model, Optim(lr=lr, schedule="linear", eps=1e-5), num_updates=4)
    pool = EnvPool(partial(OneByOne, make), num_envs, seed=0)
    collector = GymCollector(pool, learner.snapshot(), rollout_steps=rollout_steps, seed=0)
    return learner, collector


def test_ends_stand_at_the_decision_that_made_them_and_are_told_apart():
    _, collector = setup()
    rollout = collector.collect(0)
    batch = rollout.batch
    assert batch.terminated[0].tolist() == [False, True, False, False, False, True, False]
    assert batch.truncated[0].tolist() == [False, False, False, False, True, True, False]
    assert batch.rewards[0].tolist() == [1, 2, 1, 2, 3, 1, 1]
    assert batch.scores.tolist() == [11]
    assert bool(batch.mask.all()) and not bool(batch.scores.isnan().any())
    starts = [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 0], [3, 0]]
    assert rollout.inputs.observations[0].tolist() == starts
    ends = [[0, 1], [0, 2], [1, 1], [1, 2], [1, 3], [2, 1], [3, 1]]
    assert rollout.inputs.next_observations[0].tolist() == ends


def test_an_episode_goes_on_in_the_next_rollout():
    _, collector = setup(rollout_steps=4)
    collector.collect(0)
    assert collector.collect(1).inputs.observations[0, 0].tolist() == [1, 2]


def test_next_values_are_those_of_the_state_that_a_cut_left_not_of_the_next_episode():
    learner, collector = setup()
    rollout = collector.collect(0)
    left_behind = rollout.inputs.next_observations[0, 4]
    annotated = learner.annotate(rollout, frozenset({"values", "old_logprobs"})).batch
    fresh = ActorCritic(num_observations=2, num_actions=2, hidden=(8,), seed=0)
    expected = fresh.values(left_behind[None, None])[0, 0]
    assert float(annotated.next_values[0, 4]) == pytest.approx(float(expected), abs=1e-6)
    assert float(annotated.next_values[0, 4]) != pytest.approx(float(annotated.values[0, 5]))
    torch.testing.assert_close(annotated.next_values[0, :1], annotated.values[0, 1:2])


def test_the_learner_finds_the_logprobs_that_the_collector_sampled_from():
    learner, collector = setup(num_envs=3, rollout_steps=20)
    batch = learner.annotate(collector.collect(0), frozenset({"values", "old_logprobs"})).batch
    torch.testing.assert_close(batch.old_logprobs, batch.sampler_logprobs, atol=1e-6, rtol=0)


def test_a_copys_actions_do_not_depend_on_how_many_copies_there_are():
    few, many = setup(num_envs=2)[1].collect(0), setup(num_envs=5)[1].collect(0)
    assert torch.equal(few.inputs.actions, many.inputs.actions[:2])


def test_draws_follow_the_probabilities():
    keys = np.array([rng.key(0, i) for i in range(40_000)], dtype=np.uint64)
    chances = np.tile(np.array([[0.2, 0.5, 0.3]], np.float32), (len(keys), 1))
    actions = draw(chances, rng.uniforms(keys, 0))
    np.testing.assert_allclose(np.bincount(actions) / len(keys), [0.2, 0.5, 0.3], atol=0.01)


def test_draws_stay_in_range_where_rounding_leaves_the_sum_below_one():
    chances = np.array([[0.3, 0.3, 0.3999]], np.float32)
    assert draw(chances, np.array([0.9999999])).tolist() == [2]


def test_metrics_are_means_over_finished_episodes():
    _, collector = setup()
    metrics = collector.collect(0).metrics
    assert metrics["env/steps"] == 7
    assert metrics["env/episode_return"] == pytest.approx((3 + 6 + 1) / 3)
    assert metrics["rl/length"] == pytest.approx(2)


def test_a_checkpoint_without_environments_is_refused():
    with pytest.raises(CheckpointError, match="no environments"):
        setup()[1].restore({})


def improve_once(learner, rollout, algorithm):
    rollout = learner.annotate(rollout, algorithm.needs() | {"old_logprobs"})
    batch = algorithm.weights(algorithm.advantages(rollout.batch))
    return learner.step(rollout.inputs, batch, algorithm.loss)


def test_the_ratio_is_one_at_the_first_step_and_the_rate_falls_to_zero():
    learner, collector = setup(num_envs=4)
    rollout = collector.collect(0)
    taken = [improve_once(learner, rollout, PPO()) for _ in range(4)]
    assert taken[0]["rl/ratio_gap"] == 0 and taken[0]["rl/clip_fraction"] == 0
    assert [t["train/lr"] for t in taken] == pytest.approx([1e-2, 0.75e-2, 0.5e-2, 0.25e-2])
    assert taken[0]["rl/entropy"] == pytest.approx(np.log(2), abs=1e-3)


def test_a_snapshot_is_not_changed_by_later_steps():
    learner, collector = setup(num_envs=4)
    before = learner.snapshot()
    kept = {k: v.clone() for k, v in before.items()}
    improve_once(learner, collector.collect(0), PPO())
    assert all(torch.equal(before[k], kept[k]) for k in kept)
    assert not torch.equal(learner.snapshot()["actor.2.weight"], kept["actor.2.weight"])


def test_a_loss_that_is_not_finite_stops_training_and_leaves_the_weights():
    learner, collector = setup()
    rollout = learner.annotate(collector.collect(0), frozenset({"values", "old_logprobs"}))
    before = learner.snapshot()
    with pytest.raises(TrainingError, match="loss is nan"):
        learner.step(
            rollout.inputs, rollout.batch, lambda part, new: Loss(new.values.sum() * float("nan"))
        )
    assert all(torch.equal(v, before[k]) for k, v in learner.snapshot().items())


def test_a_reference_is_refused():
    learner, collector = setup()
    with pytest.raises(ConfigError, match="kl_coef"):
        learner.annotate(collector.collect(0), frozenset({"ref_logprobs", "old_logprobs"}))
