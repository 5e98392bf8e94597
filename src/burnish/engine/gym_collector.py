"""A Collector over Gymnasium environments: pushes of a cart in the layout of tokens, [B, T].

Row b is copy b of the environment, over `rollout_steps` consecutive decisions; episodes begin and
end inside rows, and `terminated` and `truncated` mark where.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from burnish import rng
from burnish.algos.batch import RolloutBatch
from burnish.engine.mlp_learner import GymInputs
from burnish.engine.protocols import Learner, Rollout
from burnish.envs.gym import EnvPool
from burnish.errors import CheckpointError
from burnish.models.mlp import ActingCopy
from burnish.types import Json, mean

WINDOW = 100
"""Finished episodes that `env/episode_return` is the mean of."""


class GymCollector:
    """Acts with its own copy of the policy. Copy b's draw at time t is (seed, "act", b) at t."""

    def __init__(
        self, pool: EnvPool, weights: Mapping[str, Tensor], *, rollout_steps: int, seed: int
    ) -> None:
        self._pool = pool
        self._policy = ActingCopy(weights)
        self._rollout_steps = rollout_steps
        num_envs = len(pool.observations)
        self._keys = np.array([rng.key(seed, "act", b) for b in range(num_envs)], dtype=np.uint64)
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def collect(self, step: int) -> Rollout:
        """`rollout_steps` decisions in every copy; episodes go on where the last rollout ended."""
        pool, num_steps = self._pool, self._rollout_steps
        shape = (num_steps, len(self._keys))
        counters = np.arange(step * num_steps, (step + 1) * num_steps)
        draws = rng.uniforms(self._keys[None, :], counters[:, None])
        observations = np.empty((*shape, pool.observations.shape[1]), np.float32)
        following = np.empty_like(observations)
        actions, rewards = np.empty(shape, np.int64), np.empty(shape, np.float32)
        terminated, truncated = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
        chances: list[np.ndarray] = []
        for t in range(num_steps):
            observations[t] = pool.observations
            chances.append(self._policy.probabilities(pool.observations))
            actions[t] = draw(chances[t], draws[t])
            seen = pool.step(actions[t])
            following[t], rewards[t] = seen.next_observations, seen.rewards
            terminated[t], truncated[t] = seen.terminated, seen.truncated
        chosen = np.take_along_axis(np.stack(chances), actions[..., None], axis=2)[..., 0]
        inputs = GymInputs(
            observations=_rows(observations),
            actions=_rows(actions),
            next_observations=_rows(following),
        )
        batch = RolloutBatch(
            mask=torch.ones(shape[::-1], dtype=torch.bool),
            rewards=_rows(rewards),
            scores=_rows(rewards).sum(dim=1),
            group=torch.zeros(shape[1], dtype=torch.int64),
            terminated=_rows(terminated),
            truncated=_rows(truncated),
            sampler_logprobs=_rows(np.log(chosen)),
        )
        return Rollout(inputs=inputs, batch=batch, metrics=self._metrics((step + 1) * actions.size))

    def sync(self, learner: Learner, step: int) -> None:
        """Take over the learner's weights."""
        self._policy = ActingCopy(learner.snapshot())

    def state(self) -> dict[str, Json]:
        """What a resume needs beside the weights: the open episodes and the recent returns."""
        return {"envs": self._pool.state(), "recent": list(self._recent)}

    def restore(self, state: Mapping[str, Json]) -> None:
        """Go on from what `state` saved. Raises: CheckpointError."""
        envs, recent = state.get("envs"), state.get("recent")
        if not isinstance(envs, list) or not isinstance(recent, list):
            raise CheckpointError("the checkpoint holds no environments; delete it to start anew")
        self._pool.restore(envs)
        self._recent.extend(float(str(score)) for score in recent)

    def close(self) -> None:
        """Close the environments."""
        self._pool.close()

    def _metrics(self, steps_so_far: int) -> dict[str, float]:
        ended, self._pool.ended = self._pool.ended, []
        self._recent.extend(score for score, _ in ended)
        metrics: dict[str, float] = {"env/steps": steps_so_far}
        if self._recent:
            metrics["env/episode_return"] = mean(list(self._recent))
        if ended:
            metrics["rl/length"] = mean([length for _, length in ended])
        return metrics


def draw(probabilities: Float32[np.ndarray, "N A"], uniforms: np.ndarray) -> np.ndarray:
    """One action a row, by inversion of the cumulative distribution. uniforms: in (0, 1), [N]."""
    reached = probabilities.cumsum(axis=1)[:, :-1]
    actions: np.ndarray = (uniforms[:, None] > reached).sum(axis=1)
    return actions


def _rows(values: np.ndarray) -> Tensor:
    """[T, B, ...] as collected to [B, T, ...] as trained on."""
    return torch.from_numpy(np.ascontiguousarray(np.swapaxes(values, 0, 1)))
