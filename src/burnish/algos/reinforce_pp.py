"""REINFORCE++ (Hu et al. 2025, 2501.03262, eq. 1 and 8 to 10).

    r_t = [t is the last] R - kl_coef (old_logp_t - ref_logp_t)
    A_t = sum_{s >= t} r_s,  then mean 0 and standard deviation 1 over all decisions of the rollout
    L   = -1/N sum_i 1/|o_i| sum_t min(rho_t A_t, clip(rho_t, 1 - clip, 1 + clip) A_t)

No critic and no groups: one baseline and one scale for the whole rollout. With `group_baseline`
(the paper's appendix A) each group's mean score is subtracted first.
Sampled from: the policy before the step.
Differs from the paper: the deviation is Bessel's, with 1e-8 added.
"""

from dataclasses import dataclass, replace

import torch

from burnish.algos.advantages import group_means, whiten
from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch, clean
from burnish.algos.kl import penalised
from burnish.algos.policy_gradient import PolicyGradient, spread
from burnish.algos.reduce import sequence_mean
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReinforcePP(PolicyGradient):
    """REINFORCE with PPO's clip and one normalisation for the whole rollout."""

    clip: float = 0.2
    """Range of the ratio; raising it lets one update go further."""
    group_baseline: bool = False
    """Subtract each group's mean score before normalising; needs groups of at least 2."""

    def __post_init__(self) -> None:
        PolicyGradient.__post_init__(self)
        if not 0 < self.clip < 1:
            raise ConfigError("clip must be in (0, 1)")

    @property
    def compares_groups(self) -> bool:
        return self.group_baseline

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        batch = penalised(batch, self.kl, self.kl_coef)
        to_go = batch.rewards.flip(1).cumsum(1).flip(1)
        if self.group_baseline:
            mean, _, _ = group_means(batch.scores, batch.group)
            to_go = to_go - spread(torch.where(batch.scores.isfinite(), mean, 0.0), batch)
        advantages = clean(whiten(clean(to_go, batch.mask), batch.mask), batch.mask)
        return replace(batch, advantages=advantages)

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return replace(step, weights=sequence_mean(step.mask, dtype=step.rewards.dtype))

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = clipped_surrogate(part, new.logprobs, self.clip, self.clip)
        return self._regularised(surrogate, part, new)
