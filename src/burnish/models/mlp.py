"""The small networks of classical control: separate actor and critic, tanh, orthogonal weights.

Initialisation after Engstrom et al. 2020 (2005.12729) and Huang et al. 2022 ("the 37 details"):
gain sqrt(2) in hidden layers, 0.01 for the actor's output, 1 for the critic's, biases zero.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

ACTOR_GAIN = 0.01
CRITIC_GAIN = 1.0


class ActorCritic(nn.Module):
    """Logits of the actions, and the value, of each observation."""

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        num_observations: int,
        num_actions: int,
        hidden: Sequence[int],
        seed: int,
        center: Sequence[float] = (),
        scale: Sequence[float] = (),
    ) -> None:
        """center, scale: observations are read as (observation - center) / scale; () reads raw."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.actor = _mlp([num_observations, *hidden, num_actions], ACTOR_GAIN, generator)
        self.critic = _mlp([num_observations, *hidden, 1], CRITIC_GAIN, generator)
        self.register_buffer("center", torch.tensor(center or [0.0] * num_observations))
        self.register_buffer("scale", torch.tensor(scale or [1.0] * num_observations))

    def forward(
        self, observations: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B T A"], Float[Tensor, "B T"]]:
        """Logits and values."""
        read = self._read(observations)
        return self.actor(read), self.critic(read)[..., 0]

    def values(self, observations: Float[Tensor, "B T D"]) -> Float[Tensor, "B T"]:
        """Values alone."""
        values: Tensor = self.critic(self._read(observations))[..., 0]
        return values

    def _read(self, observations: Tensor) -> Tensor:
        return (observations - self.center) / self.scale


class ActingCopy:
    """The actor in NumPy: for a few rows at a time it costs a tenth of a call into torch."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """weights: the state dict of an ActorCritic; later training does not change this copy."""
        arrays = {name: tensor.numpy().copy() for name, tensor in weights.items()}
        self._center, self._scale = arrays["center"], arrays["scale"]
        indices = sorted({int(n.split(".")[1]) for n in arrays if n.startswith("actor.")})
        self._layers = [
            (arrays[f"actor.{i}.weight"].T.copy(), arrays[f"actor.{i}.bias"]) for i in indices
        ]

    def logits(self, observations: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N A"]:
        """Unnormalised log-probabilities of the actions."""
        x = (observations - self._center) / self._scale
        for weight, bias in self._layers[:-1]:
            x = np.tanh(x @ weight + bias)
        weight, bias = self._layers[-1]
        out: Float32[np.ndarray, "N A"] = x @ weight + bias
        return out

    def probabilities(self, observations: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N A"]:
        """The softmax of the logits."""
        logits = self.logits(observations)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        out: Float32[np.ndarray, "N A"] = odds / odds.sum(axis=1, keepdims=True)
        return out


def _mlp(sizes: Sequence[int], out_gain: float, generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        # By way of "meta": torch's own initialisation would draw from the global stream.
        linear = nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")
        nn.init.orthogonal_(linear.weight, out_gain if last else math.sqrt(2), generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)
