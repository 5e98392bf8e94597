"""Copies of one environment, acted in together: any of Gymnasium's one by one, carts in arrays.

Stepping is most of what a small policy's training would take: one step of CartPole-v1 costs the
time of a hundred of its additions, and sixteen of them in one array little more than one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from jaxtyping import Bool, Float, Float32, Int

Env: TypeAlias = gymnasium.Env[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """What one step of some copies brought."""

    next_observations: Float32[np.ndarray, "N D"]
    """The states the actions led to: an ended episode's last, never the next one's first."""
    rewards: Float[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]


class Copies(Protocol):
    """Copies of one environment, each at its own place."""

    def reset(self, place: int, seed: int) -> Float32[np.ndarray, " D"]:
        """Begin the episode of this seed; what is seen first."""

    def step(self, places: Int[np.ndarray, " N"], actions: Int[np.ndarray, " N"]) -> Transition:
        """Act at these places, whose episodes have not ended."""

    def close(self) -> None:
        """Close every copy."""


class OneByOne:
    """Copies of any environment of Gymnasium's."""

    def __init__(self, make: Callable[[], Env], num: int) -> None:
        self._envs = [make() for _ in range(num)]

    def reset(self, place: int, seed: int) -> Float32[np.ndarray, " D"]:
        """Begin the episode of this seed; what is seen first."""
        return np.asarray(self._envs[place].reset(seed=seed)[0], np.float32)

    def step(self, places: Int[np.ndarray, " N"], actions: Int[np.ndarray, " N"]) -> Transition:
        """Act at these places, whose episodes have not ended."""
        pairs = zip(places.tolist(), actions.tolist(), strict=True)
        seen, rewards, terminated, truncated, _ = zip(
            *(self._envs[place].step(action) for place, action in pairs), strict=True
        )
        return Transition(
            next_observations=np.array(seen, np.float32),
            rewards=np.array(rewards, np.float64),
            terminated=np.array(terminated, np.bool_),
            truncated=np.array(truncated, np.bool_),
        )

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()


class Carts:
    """Copies of CartPole-v1 in arrays.

    The equations are those of Gymnasium's `CartPoleEnv.step`, operation for operation and in
    float64, with its constants and its draw of first states: bit for bit the same episodes.
    """

    def __init__(self, env: Env, num: int) -> None:
        """env: Gymnasium's, for its constants."""
        self._env, self._cart = env, env.unwrapped
        assert env.spec is not None and env.spec.max_episode_steps is not None
        self._limit = env.spec.max_episode_steps
        self._state = np.zeros((4, num))
        self._steps = np.zeros(num, np.int64)

    def reset(self, place: int, seed: int) -> Float32[np.ndarray, " D"]:
        """Begin the episode of this seed; what is seen first."""
        generator, _ = seeding.np_random(seed)
        self._state[:, place] = generator.uniform(-0.05, 0.05, size=4)
        self._steps[place] = 0
        return self._state[:, place].astype(np.float32)

    def step(self, places: Int[np.ndarray, " N"], actions: Int[np.ndarray, " N"]) -> Transition:
        """Push right (1) or left (0) at these places, whose episodes have not ended."""
        cart: Any = self._cart
        x, x_dot, theta, theta_dot = self._state[:, places]
        force = np.where(actions == 1, cart.force_mag, -cart.force_mag)
        sine, cosine = np.sin(theta), np.cos(theta)
        push = (force + cart.polemass_length * np.square(theta_dot) * sine) / cart.total_mass
        turning = (cart.gravity * sine - cosine * push) / (
            cart.length * (4.0 / 3.0 - cart.masspole * np.square(cosine) / cart.total_mass)
        )
        speeding = push - cart.polemass_length * turning * cosine / cart.total_mass
        after = np.empty((4, len(places)))
        after[0] = x + cart.tau * x_dot
        after[1] = x_dot + cart.tau * speeding
        after[2] = theta + cart.tau * theta_dot
        after[3] = theta_dot + cart.tau * turning
        self._state[:, places] = after
        self._steps[places] += 1
        lost = abs(after[0]) > cart.x_threshold
        return Transition(
            next_observations=after.T.astype(np.float32),
            rewards=np.ones(len(places)),
            terminated=lost | (abs(after[2]) > cart.theta_threshold_radians),
            truncated=self._steps[places] >= self._limit,
        )

    def close(self) -> None:
        """Close the environment that gave its constants."""
        self._env.close()
