import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from burnish.envs.gym import make_env
from burnish.envs.thermostat import (
    HEATER_F_PER_HOUR,
    LOSS_PER_HOUR,
    NUM_STEPS,
    STEP_HOURS,
    TARGET_F,
    TOLERANCE_F,
    Thermostat,
)


def test_gymnasiums_checker_finds_nothing():
    check_env(make_env("burnish/Thermostat-v0").unwrapped)


def inside_after(actions, seed=0):
    env = Thermostat()
    env.reset(seed=seed)
    return np.array([env.step(action)[0][0] for action in actions])


def test_the_heater_adds_its_rate_for_one_step():
    gap = inside_after([1]) - inside_after([0])
    assert gap == pytest.approx(HEATER_F_PER_HOUR * STEP_HOURS, abs=1e-4)


def test_a_difference_in_temperature_decays_by_newtons_law():
    gap = inside_after([1, 0, 0, 0, 0, 0]) - inside_after([0, 0, 0, 0, 0, 0])
    expected = gap[0] * (1 - LOSS_PER_HOUR * STEP_HOURS) ** np.arange(6)
    np.testing.assert_allclose(gap, expected, atol=1e-4)


def test_an_unheated_room_ends_near_the_temperature_outside():
    env = Thermostat()
    env.reset(seed=1)
    for _ in range(NUM_STEPS):
        (inside, outside), *_ = env.step(0)
    assert abs(inside - outside) < 10


def test_a_step_is_rewarded_where_it_ends_within_two_degrees_of_the_target():
    env = Thermostat()
    env.reset(seed=2)
    seen = set()
    for t in range(NUM_STEPS):
        (inside, _), reward, *_ = env.step(t % 3 == 0)
        assert reward == float(abs(float(inside) - TARGET_F) <= TOLERANCE_F)
        seen.add(reward)
    assert seen == {0.0, 1.0}


def test_a_day_is_cut_at_200_steps_and_never_terminates():
    env = make_env("burnish/Thermostat-v0")
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(NUM_STEPS)]
    assert ends == [(False, False)] * (NUM_STEPS - 1) + [(False, True)]


def test_the_same_seed_gives_the_same_day():
    np.testing.assert_array_equal(inside_after([1, 0] * 50, 3), inside_after([1, 0] * 50, 3))
    assert not np.array_equal(inside_after([0], 3), inside_after([0], 4))
