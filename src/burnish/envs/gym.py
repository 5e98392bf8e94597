"""Gymnasium environments: made by name, run side by side, and restored exactly after a kill.

Episode n of copy i is seeded by the stream (seed, "episode", i, n). An environment's state is then
what its open episode's actions make of that seed, so replaying them restores any environment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float32, Int

from burnish import rng
from burnish.config import suggest
from burnish.envs.copies import Carts, Copies, Env, OneByOne, Transition
from burnish.envs.thermostat import (
    HEATER_F_PER_HOUR,
    LOSS_PER_HOUR,
    NUM_STEPS,
    STEP_HOURS,
    TARGET_F,
)
from burnish.errors import CheckpointError, ConfigError
from burnish.types import Json

Act = Callable[[Float32[np.ndarray, "N D"], Int[np.ndarray, " N"], int], Int[np.ndarray, " N"]]
"""(observations, which episodes they belong to, time step) -> actions."""

gymnasium.register(
    id="burnish/Thermostat-v0",
    entry_point="burnish.envs.thermostat:Thermostat",
    max_episode_steps=NUM_STEPS,
    reward_threshold=190.0,
)
gymnasium.register(
    id="burnish/CartPoleLecture-v0",
    entry_point="burnish.envs.cartpole_lecture:CartPoleLecture",
    max_episode_steps=500,
    reward_threshold=475.0,
)


def make_env(name: str) -> Env:
    """A Gymnasium environment by its registered name, such as "CartPole-v1".

    Raises:
        ConfigError: no environment has that name, or what it needs is not installed.
    """
    if name not in gymnasium.registry:
        # Only what needs nothing else installed: the whole registry would be a page of names.
        ours = ("burnish.", "gymnasium.envs.classic_control.")
        known = [k for k, v in gymnasium.registry.items() if str(v.entry_point).startswith(ours)]
        raise ConfigError(f"no environment `{name}`; {suggest(name, known)}")
    try:
        # The checker tests every value of every step; the tests run it once instead.
        return gymnasium.make(name, disable_env_checker=True)
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigError(f"environment `{name}` cannot be made: {error}") from error


def open_copies(name: str, num: int) -> Copies:
    """So many copies of an environment, in arrays where it can be.

    Raises:
        ConfigError: as `make_env`.
    """
    if name == "CartPole-v1":
        return Carts(make_env(name), num)
    return OneByOne(partial(make_env, name), num)


def env_sizes(name: str) -> tuple[int, int]:
    """(numbers in an observation, number of actions).

    Raises:
        ConfigError: observations are not one row of numbers, or actions not a finite choice.
    """
    env = make_env(name)
    observations, actions = env.observation_space, env.action_space
    env.close()
    if not isinstance(observations, gymnasium.spaces.Box) or len(observations.shape) != 1:
        raise ConfigError(f"environment `{name}`: observations must be one row of numbers")
    if not isinstance(actions, gymnasium.spaces.Discrete) or actions.start != 0:
        raise ConfigError(f"environment `{name}`: actions must be a choice (Discrete, from 0)")
    return observations.shape[0], int(actions.n)


def _push_where_it_falls(
    observations: Float32[np.ndarray, "N 4"], episodes: Int[np.ndarray, " N"], t: int
) -> Int[np.ndarray, " N"]:
    actions: np.ndarray = (observations[:, 2] + observations[:, 3] > 0).astype(np.int64)
    return actions


def _heat_if_nearer(
    observations: Float32[np.ndarray, "N 2"], episodes: Int[np.ndarray, " N"], t: int
) -> Int[np.ndarray, " N"]:
    inside, outside = observations.T
    if_off = inside - STEP_HOURS * LOSS_PER_HOUR * (inside - outside)
    if_on = if_off + STEP_HOURS * HEATER_F_PER_HOUR
    actions: np.ndarray = (abs(if_on - TARGET_F) < abs(if_off - TARGET_F)).astype(np.int64)
    return actions


RULES: Mapping[str, Act] = {
    "CartPole-v1": _push_where_it_falls,
    "burnish/Thermostat-v0": _heat_if_nearer,
}
"""Policies written by hand, to compare a learned one with: push the cart towards where the pole
will be; heat if that ends the step nearer to the target, by the room's own equation."""


class EnvPool:
    """Copies of one environment, stepped together; an ended episode is followed by the next."""

    def __init__(self, make: Callable[[int], Copies], num_envs: int, seed: int) -> None:
        """make: so many copies."""
        self._copies = make(num_envs)
        self._places = np.arange(num_envs)
        self._seed = seed
        self._episode = [0] * num_envs
        self._actions: list[list[int]] = [[] for _ in range(num_envs)]
        self._returns = np.zeros(num_envs)
        self.observations: Float32[np.ndarray, "B D"] = np.stack(
            [self._reset(i) for i in range(num_envs)]
        )
        """The states to act in next."""
        self.ended: list[tuple[float, int]] = []
        """(return, length) of every episode that ended; the caller empties it."""

    def step(self, actions: Int[np.ndarray, " B"]) -> Transition:
        """Act in every copy."""
        seen = self._copies.step(self._places, actions)
        for own, action in zip(self._actions, actions.tolist(), strict=True):
            own.append(action)
        self._returns += seen.rewards
        self.observations = seen.next_observations
        ended = seen.terminated | seen.truncated
        if ended.any():
            self.observations = seen.next_observations.copy()
            for i in np.flatnonzero(ended).tolist():
                self.ended.append((float(self._returns[i]), len(self._actions[i])))
                self._episode[i] += 1
                self.observations[i] = self._reset(i)
        return seen

    def state(self) -> list[Json]:
        """What `restore` needs: the number of each open episode and its actions so far."""
        return [
            {"episode": episode, "actions": list(actions)}
            for episode, actions in zip(self._episode, self._actions, strict=True)
        ]

    def restore(self, state: Sequence[Json]) -> None:
        """Replay the open episodes of `state`.

        Raises:
            CheckpointError: it is for another number of copies, or the environment has changed.
        """
        if len(state) != len(self._places):
            raise CheckpointError(f"saved with {len(state)} environments, not {len(self._places)}")
        for i, saved in enumerate(state):
            assert isinstance(saved, dict) and isinstance(saved["actions"], list)
            self._episode[i] = int(str(saved["episode"]))
            self.observations[i] = self._reset(i)
            for action in (int(str(a)) for a in saved["actions"]):
                seen = self._copies.step(self._places[i : i + 1], np.array([action]))
                if seen.terminated[0] or seen.truncated[0]:
                    raise CheckpointError("the environment no longer replays: was it changed?")
                self.observations[i] = seen.next_observations[0]
                self._actions[i].append(action)
                self._returns[i] += seen.rewards[0]

    def close(self) -> None:
        """Close every copy."""
        self._copies.close()

    def _reset(self, i: int) -> Float32[np.ndarray, " D"]:
        self._actions[i] = []
        self._returns[i] = 0.0
        return self._copies.reset(i, rng.key(self._seed, "episode", i, self._episode[i]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One whole episode, as played."""

    observations: list[list[float]] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Its undiscounted return."""
        return sum(self.rewards)


def play(make: Callable[[int], Copies], act: Act, *, episodes: int, seed: int) -> list[Episode]:
    """Play whole episodes side by side, none of them seen in training: stream (seed, "eval", i)."""
    copies = make(episodes)
    now = np.stack([copies.reset(i, rng.key(seed, "eval", i)) for i in range(episodes)])
    played = [Episode() for _ in range(episodes)]
    active = np.arange(episodes)
    t = 0
    while len(active):
        actions = act(now[active], active, t)
        seen = copies.step(active, actions)
        told = (now[active].tolist(), actions.tolist(), seen.rewards.tolist())
        for i, observation, action, reward in zip(active.tolist(), *told, strict=True):
            played[i].observations.append(observation)
            played[i].actions.append(action)
            played[i].rewards.append(reward)
        now[active] = seen.next_observations
        active = active[~(seen.terminated | seen.truncated)]
        t += 1
    copies.close()
    return played
