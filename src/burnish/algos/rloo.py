"""RLOO: REINFORCE with a leave-one-out baseline (Kool et al. 2019; Ahmadian et al. 2024,
2402.14740, section 3).

    R'_i = R_i - kl_coef sum_t (old_logp_t - ref_logp_t)
    A_i  = R'_i - mean of the others of its group
    L    = -1/N sum_i A_i sum_t logp_t

The completion is one action. The baseline does not know the completion it is used for, so the
gradient is unbiased for any group size from 2.
Sampled from: the policy itself: use one update a rollout.
Differs from the paper: nothing; TRL clips a sequence ratio besides.
"""

from dataclasses import dataclass, replace

from burnish.algos.advantages import leave_one_out
from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.kl import penalised
from burnish.algos.policy_gradient import PolicyGradient, spread
from burnish.algos.reduce import constant
from burnish.algos.surrogate import score_function_surrogate


@dataclass(frozen=True, kw_only=True, slots=True)
class RLOO(PolicyGradient):
    """REINFORCE leave-one-out."""

    @property
    def reuses_rollouts(self) -> bool:
        return False

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        batch = penalised(batch, self.kl, self.kl_coef)
        return replace(batch, advantages=spread(leave_one_out(batch.scores, batch.group), batch))

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        weights = constant(step.mask, divisor=1.0, dtype=step.rewards.dtype)
        return replace(step, weights=weights)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        return self._regularised(score_function_surrogate(part, new.logprobs), part, new)
