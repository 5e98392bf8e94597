from functools import partial

import gymnasium
import numpy as np
import pytest

from burnish.envs.copies import OneByOne
from burnish.envs.gym import RULES, EnvPool, env_sizes, make_env, open_copies, play
from burnish.errors import CheckpointError, ConfigError


class Countdown(gymnasium.Env):
    """Observation: [steps left, steps done]. Ends by itself after `length` steps."""

    def __init__(self, length):
        self.observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.done = 0
        return self.look(), {}

    def step(self, action):
        self.done += 1
        return self.look(), float(action), self.done == self.length, False, {}

    def look(self):
        return np.array([self.length - self.done, self.done], np.float32)


def countdowns(length):
    return partial(OneByOne, lambda: Countdown(length))


def test_an_unknown_environment_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean `burnish/Thermostat-v0`"):
        make_env("burnish/Thermostat-v1")
    with pytest.raises(ConfigError, match=r"CartPole-v1, .*burnish/Thermostat-v0") as error:
        make_env("zzz")
    assert "\n" not in str(error.value)


def test_an_environment_with_missing_parts_is_refused(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Broken-v0", entry_point="no_such_module:Broken")
    monkeypatch.setitem(gymnasium.registry, "Broken-v0", spec)
    with pytest.raises(ConfigError, match="`Broken-v0` cannot be made: No module"):
        make_env("Broken-v0")


def test_continuous_actions_and_table_observations_are_refused():
    with pytest.raises(ConfigError, match="actions must be a choice"):
        env_sizes("Pendulum-v1")
    with pytest.raises(ConfigError, match="one row of numbers"):
        env_sizes("CliffWalking-v1")
    assert env_sizes("CartPole-v1") == (4, 2)


def test_a_transition_shows_the_last_state_and_the_pool_the_next_first_one():
    pool = EnvPool(countdowns(2), 1, seed=0)
    assert pool.step(np.array([1])).next_observations.tolist() == [[1.0, 1.0]]
    last = pool.step(np.array([0]))
    assert last.next_observations.tolist() == [[0.0, 2.0]]
    assert last.terminated.tolist() == [True]
    assert pool.observations.tolist() == [[2.0, 0.0]]
    assert pool.ended == [(1.0, 2)]


def push(pool, steps, seed):
    actions = np.random.default_rng(seed).integers(0, 2, (steps, len(pool.observations)))
    return np.stack([pool.step(row).next_observations for row in actions])


@pytest.mark.parametrize("name", ["CartPole-v1", "burnish/Thermostat-v0"])
def test_a_restored_pool_goes_on_exactly_as_the_saved_one(name):
    make = partial(open_copies, name)
    pool = EnvPool(make, 3, seed=5)
    push(pool, 77, seed=1)
    twin = EnvPool(make, 3, seed=5)
    twin.restore(pool.state())
    np.testing.assert_array_equal(twin.observations, pool.observations)
    pool.ended.clear()
    np.testing.assert_array_equal(push(twin, 300, seed=2), push(pool, 300, seed=2))
    assert twin.ended == pool.ended and pool.ended


def test_a_copys_episodes_do_not_depend_on_how_many_copies_there_are():
    make = partial(open_copies, "CartPole-v1")
    few, many = EnvPool(make, 2, seed=5), EnvPool(make, 4, seed=5)
    for _ in range(60):
        few.step(np.array([0, 1]))
        many.step(np.array([0, 1, 1, 0]))
    np.testing.assert_array_equal(many.observations[:2], few.observations)


def test_restoring_into_another_number_of_copies_or_a_changed_environment_is_refused():
    pool = EnvPool(countdowns(9), 2, seed=0)
    push(pool, 4, seed=0)
    with pytest.raises(CheckpointError, match="2 environments, not 1"):
        EnvPool(countdowns(9), 1, seed=0).restore(pool.state())
    with pytest.raises(CheckpointError, match="no longer replays"):
        EnvPool(countdowns(3), 2, seed=0).restore(pool.state())


def test_evaluation_episode_i_is_the_same_however_many_are_played():
    play_rule = partial(play, partial(open_copies, "CartPole-v1"), RULES["CartPole-v1"], seed=3)
    assert play_rule(episodes=2) == play_rule(episodes=4)[:2]


def test_hand_written_rules_score_as_published_and_as_physics_allows():
    cart = play(partial(open_copies, "CartPole-v1"), RULES["CartPole-v1"], episodes=30, seed=0)
    assert np.mean([e.score for e in cart]) > 450
    name = "burnish/Thermostat-v0"
    days = play(partial(open_copies, name), RULES[name], episodes=20, seed=0)
    assert np.mean([e.score for e in days]) > 190
