"""The lecture's CartPole: its equations by hand, and Gymnasium's limits."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from burnish.envs.gym import make_env


def after_a_push(name, state, action):
    env = make_env(name)
    env.reset(seed=0)
    env.unwrapped.state = np.array(state)
    return env.step(action)[0]


def test_one_step_by_hand():
    theta, theta_dot = 0.1, -0.5
    push = (10 + 0.1 * 0.5 * theta_dot**2 * math.sin(theta)) / 1.1
    turning = (9.8 * math.sin(theta) - math.cos(theta) * push) / (
        0.5 * (1 - 0.1 * math.cos(theta) ** 2 / 1.1)
    )
    speeding = push - 0.1 * 0.5 * turning * math.cos(theta) / 1.1
    found = after_a_push("burnish/CartPoleLecture-v0", [0.2, 0.3, theta, theta_dot], 1)
    expected = [
        0.2 + 0.02 * 0.3,
        0.3 + 0.02 * speeding,
        theta + 0.02 * theta_dot,
        theta_dot + 0.02 * turning,
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_point_mass_turns_faster_than_a_rod():
    state = [0.0, 0.0, 0.05, 0.0]
    lecture = after_a_push("burnish/CartPoleLecture-v0", state, 1)
    rod = after_a_push("CartPole-v1", state, 1)
    assert lecture[3] < rod[3] < 0
    assert lecture[0] == rod[0] and lecture[2] == rod[2]


@pytest.mark.filterwarnings("ignore:.*A Box observation space m:UserWarning")
def test_it_is_a_gymnasium_environment_with_cartpoles_limits():
    env = make_env("burnish/CartPoleLecture-v0")
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec.max_episode_steps == 500
    assert env.observation_space == gymnasium.make("CartPole-v1").observation_space
    env.reset(seed=1)
    steps, ended = 0, False
    while not ended:
        _, reward, ended, truncated, _ = env.step(1)
        assert reward == 1 and not truncated
        steps += 1
    assert 5 < steps < 20
