"""REINFORCE (Williams 1992): the score-function gradient with a batch-mean baseline.

    A_i = R_i - mean R,     L = -1/N sum_i A_i sum_t logp_t

Sampled from: the policy itself: use one update a rollout.
Differs from the paper: the baseline is the mean of the rollout, which includes the completion
itself and so scales the expected gradient by (N-1)/N.
"""

from dataclasses import dataclass, replace

import torch

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.kl import penalised
from burnish.algos.policy_gradient import PolicyGradient, spread
from burnish.algos.reduce import constant
from burnish.algos.surrogate import score_function_surrogate


@dataclass(frozen=True, kw_only=True, slots=True)
class REINFORCE(PolicyGradient):
    """Williams's REINFORCE."""

    baseline: bool = True
    """Subtract the mean score of the rollout: less variance, a factor (N-1)/N of bias."""

    @property
    def compares_groups(self) -> bool:
        return False

    @property
    def reuses_rollouts(self) -> bool:
        return False

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        batch = penalised(batch, self.kl, self.kl_coef)
        scored = batch.scores.isfinite()
        mean = batch.scores[scored].mean() if self.baseline and bool(scored.any()) else 0.0
        advantage = torch.where(scored, batch.scores - mean, torch.zeros_like(batch.scores))
        return replace(batch, advantages=spread(advantage, batch))

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        weights = constant(step.mask, divisor=1.0, dtype=step.rewards.dtype)
        return replace(step, weights=weights)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        return self._regularised(score_function_surrogate(part, new.logprobs), part, new)
