"""CartPole as Burnish makes and steps it, against Gymnasium's own, step by step.

`gymnasium.utils.env_checker` finds nothing in Burnish's own environments: tests/unit/envs.
"""

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_match import check_environments_match

from burnish import conformance, rng
from burnish.envs.gym import EnvPool, open_copies

SEED = 4
STEPS = 800


class Pooled(gymnasium.Env):
    """The copy at `place` of the environments that training steps side by side."""

    def __init__(self, pool, spaces, place):
        self.pool, self.place = pool, place
        self.action_space, self.observation_space = spaces.action_space, spaces.observation_space

    def reset(self, *, seed=None, options=None):
        return self.pool.observations[self.place], {}  # the pool has begun the next episode itself

    def step(self, action):
        actions = np.zeros(len(self.pool.observations), np.int64)
        actions[self.place] = action
        seen = self.pool.step(actions)
        at = self.place
        return (
            seen.next_observations[at],
            float(seen.rewards[at]),
            bool(seen.terminated[at]),
            bool(seen.truncated[at]),
            {},
        )


class Seeded(gymnasium.Wrapper):
    """Gymnasium's environment, whose episodes begin as those of a pool's copy do."""

    def __init__(self, env, place):
        super().__init__(env)
        self.place, self.episode = place, 0

    def reset(self, *, seed=None, options=None):
        key = rng.key(SEED, "episode", self.place, self.episode)
        self.episode += 1
        return self.env.reset(seed=key)


def test_cartpole_is_gymnasiums():
    made, own = conformance.make_env("CartPole-v1"), gymnasium.make("CartPole-v1")
    check_environments_match(made, own, num_steps=STEPS, seed=SEED)
    made.close(), own.close()


@pytest.mark.parametrize("place", [0, 2])
def test_cartpole_in_training_is_gymnasiums_whatever_the_copies_beside_it_do(place):
    own = gymnasium.make("CartPole-v1")
    pool = EnvPool(partial(open_copies, "CartPole-v1"), 3, SEED)
    check_environments_match(Pooled(pool, own, place), Seeded(own, place), num_steps=STEPS)
    assert len(pool.ended) > 3 * 20  # many episodes begun anew
    pool.close(), own.close()


def test_carts_in_arrays_move_bit_for_bit_as_gymnasiums_through_whole_episodes():
    copies, envs = open_copies("CartPole-v1", 5), [gymnasium.make("CartPole-v1") for _ in range(5)]
    seen = np.stack([copies.reset(i, 100 + i) for i in range(5)])
    own = np.stack([env.reset(seed=100 + i)[0] for i, env in enumerate(envs)])
    np.testing.assert_array_equal(seen, own)
    active, ends = np.arange(5), {"terminated": 0, "truncated": 0}
    while len(active):  # the last cart is balanced to the limit, the others fall at their own times
        leaning = seen[active, 2] + seen[active, 3] > 0
        actions = np.where(active == 4, leaning, active % 2).astype(np.int64)
        step = copies.step(active, actions)
        theirs = [envs[i].step(int(a)) for i, a in zip(active, actions, strict=True)]
        columns = [np.array(column) for column in list(zip(*theirs, strict=True))[:4]]
        found = (step.next_observations, step.rewards, step.terminated, step.truncated)
        for ours, expected in zip(found, columns, strict=True):
            np.testing.assert_array_equal(ours, expected)
        seen[active] = step.next_observations
        ends["terminated"] += int(step.terminated.sum())
        ends["truncated"] += int(step.truncated.sum())
        active = active[~(step.terminated | step.truncated)]
    assert ends["truncated"] == 1 and ends["terminated"] == 4
    copies.close(), [env.close() for env in envs]


def test_the_lectures_cartpole_is_another_whose_pole_has_no_inertia_of_its_own():
    own = gymnasium.make("CartPole-v1")
    lecture = conformance.make_env("burnish/CartPoleLecture-v0")
    assert lecture.spec.max_episode_steps == own.spec.max_episode_steps
    # they begin alike, and part at the first push
    check_environments_match(lecture, own, num_steps=0, seed=SEED)
    with pytest.raises(AssertionError, match="observation is not equivalent in step = 0"):
        check_environments_match(lecture, own, num_steps=1, seed=SEED)
    lecture.close(), own.close()
