"""The plan is worth what it says, and no other policy is worth more."""

import math
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest

from burnish.envs.gym import RULES, open_copies, play
from burnish.envs.thermostat import NOISE_F, TARGET_F, TOLERANCE_F
from burnish.envs.thermostat_optimum import ends, expected_reward, solve, swing
from burnish.errors import ConfigError

ROOM = "burnish/Thermostat-v0"


@pytest.fixture(scope="module")
def optimum():
    return solve(spacing_f=0.1, num_means=9)


def reward_chance(moved):
    after = NormalDist(moved, NOISE_F)
    return after.cdf(TARGET_F + TOLERANCE_F) - after.cdf(TARGET_F - TOLERANCE_F)


def test_the_last_step_takes_the_action_that_is_likelier_to_end_in_the_band():
    last = solve(steps=1, num_means=3)
    for inside in (66.0, 67.2, 70.0, 71.9, 73.0):
        off, on = (
            reward_chance(float(ends(np.array([inside]), 40.0 + swing(0), a)[0])) for a in (0, 1)
        )
        assert last.value(inside, 40.0) == pytest.approx(max(off, on), abs=2e-3)


def test_two_steps_are_the_integral_over_the_first_ones_noise():
    plan = solve(steps=2, num_means=3, spacing_f=0.02)
    outside = [40.0 + swing(t) for t in (0, 1)]

    def one(inside):
        moved = (float(ends(np.array([inside]), outside[1], a)[0]) for a in (0, 1))
        return max(reward_chance(m) for m in moved)

    for inside in (64.0, 66.5, 70.3, 72.4):
        worth = []
        for action in (0, 1):
            moved = float(ends(np.array([inside]), outside[0], action)[0])
            after = NormalDist(moved, NOISE_F)
            places = np.linspace(moved - 6 * NOISE_F, moved + 6 * NOISE_F, 2001)
            later = np.trapezoid([after.pdf(x) * one(float(x)) for x in places], places)
            worth.append(reward_chance(moved) + later)
        assert plan.value(inside, 40.0) == pytest.approx(max(worth), abs=3e-3)


def test_the_plan_is_worth_what_it_says_in_the_room_itself(optimum):
    make = partial(open_copies, ROOM)
    played = play(make, optimum.act, episodes=60, seed=3)
    said, got = [], []
    for episode in played:
        inside, outside = episode.observations[0]
        said.append(optimum.value(inside, outside - swing(0)))
        got.append(episode.score)
    gap = np.array(got) - np.array(said)
    error = gap.std(ddof=1) / math.sqrt(len(gap))
    assert abs(gap.mean()) < 4 * error + 0.05
    assert 150 < np.mean(got) < 200


def test_no_rule_does_better_than_the_plan_on_the_same_days(optimum):
    make = partial(open_copies, ROOM)
    best = np.array([e.score for e in play(make, optimum.act, episodes=40, seed=5)])
    rule = np.array([e.score for e in play(make, RULES[ROOM], episodes=40, seed=5)])
    off = play(make, lambda o, e, t: np.zeros(len(o), int), episodes=10, seed=5)
    assert (best - rule).mean() > -0.5
    assert best.mean() > np.mean([e.score for e in off]) + 100


def test_a_finer_grid_changes_little():
    coarse, fine = solve(steps=20, num_means=3, spacing_f=0.1), solve(steps=20, num_means=3)
    for inside in (60.0, 69.0, 75.0):
        assert coarse.value(inside, 40.0) == pytest.approx(fine.value(inside, 40.0), abs=0.05)


def test_more_steps_are_never_worth_less_and_at_most_one_each():
    lengths = (1, 2, 5, 9)
    values = [solve(steps=n, num_means=3, spacing_f=0.1).value(70.0, 40.0) for n in lengths]
    assert values == sorted(values)
    assert all(v <= n for v, n in zip(values, lengths, strict=True))


def test_the_reward_is_a_chance_and_highest_at_the_target():
    found = expected_reward(np.array([TARGET_F - 5, TARGET_F - 2, TARGET_F, TARGET_F + 2]))
    assert found == pytest.approx([0.0, 0.5, 1.0, 0.5], abs=1e-6)


def test_a_grid_coarser_than_the_noise_is_refused():
    with pytest.raises(ConfigError, match="spacing_f"):
        solve(steps=1, spacing_f=0.5)
