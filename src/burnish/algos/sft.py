"""Supervised fine-tuning: the negative log-likelihood of demonstrations.

    token_mean:  L = -1/(tokens of the step) sum_i sum_t logp_t
    token_sum:   L = -sum_i sum_t logp_t / rows    (open-instruct's sum loss, per row of the step)

The reduction is named, because another one is another learning rate: with the sum a long answer, or
a step with many answers, moves the weights further. Its definition is versioned, because a recipe
written today must mean the same once a better one is found.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from burnish.algos.batch import clean
from burnish.algos.reduce import constant, token_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTLoss:
    """Negative log-likelihood, with its reduction named."""

    reduction: Literal["token_mean", "token_sum"] = "token_mean"
    version: Literal[1] = 1
    """Of what the name stands for: the equations above. A changed one would get the next number."""

    def weights(self, mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Weights for one whole optimiser step."""
        return token_mean(mask) if self.reduction == "token_mean" else constant(mask, divisor=1.0)

    def loss(
        self,
        logprobs: Float[Tensor, "B T"],
        weights: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, ""]:
        """The weighted sum over any slice of the step."""
        return -(clean(weights, mask) * clean(logprobs, mask)).sum()
