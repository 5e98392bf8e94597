"""The small networks of classical control: separate actor and critic, tanh, orthogonal weights.

Initialisation after Engstrom et al. 2020 (2005.12729) and Huang et al. 2022 ("the 37 details"):
gain sqrt(2) in hidden layers, 0.01 for the actor's output, 1 for the critic's, biases zero.

For networks this small time goes by calls, not by sums. So actor and critic are multiplied
together, all weights lie in one tensor for the optimiser, and their gradient is written out, which
leaves autograd the loss alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

ACTOR_GAIN = 0.01
CRITIC_GAIN = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What the networks say of actions taken, and what their gradient needs."""

    logprobs: Float[Tensor, "B T"]
    """Of the actions."""
    entropy: Float[Tensor, "B T"]
    """Of what they were drawn from."""
    values: Float[Tensor, "B T"]
    actions: Int[Tensor, "N 1"]
    all_logprobs: Float[Tensor, "N A"]
    read: Sequence[Float[Tensor, "2 N D"]]
    """What each layer read: the actor's, the critic's."""


class ActorCritic:
    """Scores actions, and values, of each observation.

    Each layer holds the actor's weights and the critic's, [2, out, in]. In the last one the
    critic's are as many as the actor's, and only its first output is read.
    """

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
        widths = pairwise([num_observations, *hidden, num_actions])
        shapes = [shape for i, o in widths for shape in ((2, o, i), (2, 1, o))]
        self.weights = nn.Parameter(torch.zeros(sum(math.prod(shape) for shape in shapes)))
        self._gradient = torch.zeros_like(self.weights)
        self._layers = _layers(self.weights.detach(), shapes)
        self._gradients = _layers(self._gradient, shapes)
        self._reads_raw = not center and not scale
        self._center = torch.tensor(center or [0.0] * num_observations)
        self._scale = torch.tensor(scale or [1.0] * num_observations)
        generator = torch.Generator().manual_seed(seed)
        for network, gain in (("actor", ACTOR_GAIN), ("critic", CRITIC_GAIN)):
            for place in range(len(hidden) + 1):
                weight = self.state()[f"{network}.{2 * place}.weight"]
                own = gain if place == len(hidden) else math.sqrt(2)
                nn.init.orthogonal_(weight, own, generator)

    @torch.no_grad()
    def scores(self, observations: Float[Tensor, "B T D"], actions: Int[Tensor, "B T"]) -> Scores:
        """What they say now."""
        *read, said = self._forward(observations)
        places, shape = actions.reshape(-1, 1), actions.shape
        all_logprobs = said[0].log_softmax(-1)
        return Scores(
            logprobs=all_logprobs.gather(1, places).view(shape),
            entropy=(all_logprobs.exp() * all_logprobs).sum(1).neg_().view(shape),
            values=said[1, :, 0].view(shape),
            actions=places,
            all_logprobs=all_logprobs,
            read=read,
        )

    @torch.no_grad()
    def values(self, observations: Float[Tensor, "B T D"]) -> Float[Tensor, "B T"]:
        """Values alone."""
        return self._forward(observations)[-1][1, :, 0].view(observations.shape[:2])

    @torch.no_grad()
    def backward(
        self,
        scores: Scores,
        *,
        logprobs: Float[Tensor, "B T"] | None,
        entropy: Float[Tensor, "B T"] | None,
        values: Float[Tensor, "B T"] | None,
    ) -> None:
        """Set the gradient of `weights` from the loss's with respect to the scores; None: zero.

        With logits z, p their softmax and H its entropy:
        d log p_a / d z_j = [j = a] - p_j,    d H / d z_j = -p_j (log p_j + H).
        """
        chances = scores.all_logprobs.exp()
        said = chances.new_zeros(2, *chances.shape)
        if logprobs is not None:
            own = logprobs.view(-1, 1)
            torch.mul(chances, -own, out=said[0]).scatter_add_(1, scores.actions, own)
        if entropy is not None:
            spread = scores.all_logprobs + scores.entropy.view(-1, 1)
            said[0] -= entropy.view(-1, 1) * chances * spread
        if values is not None:
            said[1, :, 0] = values.view(-1)
        for i in range(len(self._layers) - 1, -1, -1):
            of_weight, of_bias = self._gradients[i]
            torch.bmm(said.mT, scores.read[i], out=of_weight)
            torch.sum(said, dim=1, keepdim=True, out=of_bias)
            if i:
                activation = scores.read[i]
                said = said @ self._layers[i][0]
                said.addcmul_(said * activation, activation, value=-1)  # tanh' = 1 - tanh^2
        self.weights.grad = self._gradient

    def state(self) -> dict[str, Tensor]:
        """Views of the weights, and what observations are read by. Layer i of `actor` or `critic`
        is called 2i: a tanh stands between two of them."""
        found: dict[str, Tensor] = {}
        for i, network in enumerate(("actor", "critic")):
            for place, (weight, bias) in enumerate(self._layers):
                one = network == "critic" and place == len(self._layers) - 1
                used = slice(1) if one else slice(None)
                found[f"{network}.{2 * place}.weight"] = weight[i, used]
                found[f"{network}.{2 * place}.bias"] = bias[i, 0, used]
        return {**found, "center": self._center, "scale": self._scale}

    def _forward(self, observations: Tensor) -> list[Tensor]:
        """What each layer reads, then what the last one says: [2, N, width]."""
        flat = observations.flatten(0, 1)
        if not self._reads_raw:
            flat = (flat - self._center) / self._scale
        seen = [flat.expand(2, *flat.shape)]
        for i, (weight, bias) in enumerate(self._layers):
            if i:
                seen[-1].tanh_()
            seen.append(torch.baddbmm(bias, seen[-1], weight.mT))
        return seen


class ActingCopy:
    """The actor in NumPy: for a few rows at a time it costs a tenth of a call into torch."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """weights: the state of an ActorCritic; later training does not change this copy."""
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


def _layers(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
    """Views of one tensor: a weight and a bias for each layer."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    views = [part.view(*shape) for part, shape in zip(parts, shapes, strict=True)]
    return list(zip(views[::2], views[1::2], strict=True))
