"""REINFORCE (Williams 1992): the score-function gradient with a batch-mean baseline.

    A_i = R_i - mean R,     L = -1/N sum_i A_i sum_t logp_t

Sampled from: the policy itself.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from burnish.algos.batch import Loss, Need, PolicyOutputs, RolloutBatch, clean, require_tensor
from burnish.algos.reduce import constant


@dataclass(frozen=True, kw_only=True, slots=True)
class REINFORCE:
    """Williams's REINFORCE."""

    baseline: bool = True
    """Subtract the mean score of the rollout; less variance, a factor (N-1)/N of bias."""

    def needs(self) -> frozenset[Need]:
        return frozenset()

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        scored = batch.scores.isfinite()
        mean = batch.scores[scored].mean() if self.baseline and bool(scored.any()) else 0.0
        advantage = torch.where(scored, batch.scores - mean, torch.zeros_like(batch.scores))
        spread = advantage[:, None].expand(batch.mask.shape)
        return replace(batch, advantages=clean(spread, batch.mask))

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        weights = constant(step.mask, divisor=1.0, dtype=step.rewards.dtype)
        return replace(step, weights=weights)

    def inert(self, batch: RolloutBatch) -> Bool[Tensor, " B"]:
        return (require_tensor(batch.advantages, "advantages") == 0).all(dim=1)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        advantages = clean(require_tensor(part.advantages, "advantages"), part.mask)
        weights = clean(require_tensor(part.weights, "weights"), part.mask)
        gain = weights * advantages * clean(new.logprobs, part.mask)
        return Loss(-gain.sum(), {"decisions": part.mask.sum()})
