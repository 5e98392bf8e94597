"""Evaluation of control policies on whole unseen episodes, and what their picture is drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int
from torch import Tensor

from burnish import rng
from burnish.engine.gym_collector import draw
from burnish.envs.gym import RULES, Act, env_sizes, make_env, open_copies, play
from burnish.envs.thermostat import STEP_HOURS
from burnish.models.mlp import ActingCopy
from burnish.types import Json, mean

GRID = 61
"""Points along each axis of a picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One policy's return in one episode; every policy plays the same episodes."""

    model: str
    task: str
    problem: str
    score: float
    mode: Literal["greedy", "sampled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlScores:
    """`threshold`: the mean return at which the environment's authors call it solved."""

    threshold: float | None
    rows: tuple[Score, ...]

    def mean(self, model: str) -> float:
        """A policy's mean return."""
        return mean([row.score for row in self.rows if row.model == model])


def score_policies(
    env: str,
    greedily: Mapping[str, Mapping[str, Tensor]],
    sampling: Mapping[str, Mapping[str, Tensor]],
    *,
    episodes: int,
    seed: int,
) -> ControlScores:
    """Score policies on the same unseen episodes, beside a random one and one written by hand.

    greedily: weights of policies that take their likeliest action. sampling: of those that draw it.
    """
    make = partial(open_copies, env)
    _, num_actions = env_sizes(env)
    keys = np.array([rng.key(seed, "draws", i) for i in range(episodes)], dtype=np.uint64)
    players: dict[str, Act] = {"random": _uniform(num_actions, keys)}
    if env in RULES:
        players["rule"] = RULES[env]
    players |= {name: greedy(ActingCopy(weights)) for name, weights in greedily.items()}
    players |= {name: sampled(ActingCopy(weights), keys) for name, weights in sampling.items()}
    drawn = {"random", *sampling}
    rows = [
        Score(
            model=name,
            task=env,
            problem=f"episode-{i}",
            score=episode.score,
            mode="sampled" if name in drawn else "greedy",
        )
        for name, act in players.items()
        for i, episode in enumerate(play(make, act, episodes=episodes, seed=seed))
    ]
    one = make_env(env)
    threshold = one.spec.reward_threshold if one.spec is not None else None
    one.close()
    return ControlScores(
        threshold=None if threshold is None else float(threshold), rows=tuple(rows)
    )


def greedy(policy: ActingCopy) -> Act:
    """The likeliest action."""

    def act(
        observations: Float32[np.ndarray, "N D"], episodes: Int[np.ndarray, " N"], t: int
    ) -> Int[np.ndarray, " N"]:
        actions: np.ndarray = policy.logits(observations).argmax(axis=1)
        return actions

    return act


def sampled(policy: ActingCopy, keys: Int[np.ndarray, " E"]) -> Act:
    """Actions drawn from the policy; episode e draws from stream keys[e]."""

    def act(
        observations: Float32[np.ndarray, "N D"], episodes: Int[np.ndarray, " N"], t: int
    ) -> Int[np.ndarray, " N"]:
        return draw(policy.probabilities(observations), rng.uniforms(keys[episodes], t))

    return act


def _uniform(num_actions: int, keys: Int[np.ndarray, " E"]) -> Act:
    def act(
        observations: Float32[np.ndarray, "N D"], episodes: Int[np.ndarray, " N"], t: int
    ) -> Int[np.ndarray, " N"]:
        actions: np.ndarray = (rng.uniforms(keys[episodes], t) * num_actions).astype(np.int64)
        return actions

    return act


def portraits(env: str, weights: Mapping[str, Tensor], *, seed: int) -> dict[str, Json]:
    """What to draw of a policy, where its environment has few enough dimensions to be drawn."""
    draw_one = PORTRAITS.get(env)
    return {} if draw_one is None else draw_one(ActingCopy(weights), seed)


def _cart(policy: ActingCopy, seed: int) -> dict[str, Json]:
    """Probability of pushing right over the pole's angle and speed; the cart at rest in the
    middle. The axes span what the task allows."""
    angles = np.linspace(-0.21, 0.21, GRID)
    speeds = np.linspace(-2.0, 2.0, GRID)
    grid = np.zeros((GRID, GRID, 4), np.float32)
    grid[:, :, 2], grid[:, :, 3] = angles[None, :], speeds[:, None]
    right = policy.probabilities(grid.reshape(-1, 4))[:, 1].reshape(GRID, GRID)
    return {
        "cart": {
            "angle": _list(angles),
            "speed": _list(speeds),
            "push_right": [_list(row) for row in right],
        }
    }


def _room(policy: ActingCopy, seed: int) -> dict[str, Json]:
    """Probability of heating over the room's temperature, and one unseen day, greedily."""
    inside = np.linspace(60.0, 80.0, GRID)
    heating: dict[str, Json] = {}
    for outside in (25.0, 40.0, 55.0):
        seen = np.stack([inside, np.full(GRID, outside)], axis=1).astype(np.float32)
        heating[f"{outside:g}"] = _list(policy.probabilities(seen)[:, 1])
    make = partial(open_copies, "burnish/Thermostat-v0")
    (day,) = play(make, greedy(policy), episodes=1, seed=seed)
    temperatures = np.array(day.observations)
    return {
        "room": {"inside": _list(inside), "heating_by_outside": heating},
        "day": {
            "hour": _list(np.arange(len(day.actions)) * STEP_HOURS),
            "inside": _list(temperatures[:, 0]),
            "outside": _list(temperatures[:, 1]),
            "heater": [int(action) for action in day.actions],
        },
    }


def _list(values: np.ndarray) -> list[Json]:
    return [round(float(value), 5) for value in values]


PORTRAITS: Mapping[str, Callable[[ActingCopy, int], dict[str, Json]]] = {
    "CartPole-v1": _cart,
    "burnish/Thermostat-v0": _room,
}
