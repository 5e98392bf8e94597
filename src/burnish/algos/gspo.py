"""GSPO: group sequence policy optimisation (Zheng et al. 2025, 2507.18071, eq. 5 to 7).

    A_i = (R_i - mean_g R) / (std_g R + eps)
    s_i = exp(1/|o_i| sum_t (logp_t - old_logp_t))
    L   = -1/N sum_i min(s_i A_i, clip(s_i, 1 - clip_low, 1 + clip_high) A_i)

One ratio a completion, as there is one reward a completion; its gradient goes through every token.
The mean of many log ratios stays near 0, hence the narrow clip.
Sampled from: the policy before the step, several completions a problem.
Differs from the paper: std is Bessel's, with eps 1e-4.
"""

from dataclasses import dataclass, replace

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.grpo import check_clips
from burnish.algos.kl import Placement
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.reduce import sequence_mean
from burnish.algos.surrogate import sequence_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class GSPO(PolicyGradient):
    """Group sequence policy optimisation."""

    kl: Placement = "loss_k3"
    """Where the penalty sits, if kl_coef is above 0 (the paper omits it)."""
    clip_low: float = 3e-4
    """How far the sequence ratio may fall before the gradient stops."""
    clip_high: float = 4e-4
    """How far the sequence ratio may rise before the gradient stops."""
    std_eps: float = 1e-4
    """Added to the group's standard deviation; raising it damps groups that nearly agree."""

    def __post_init__(self) -> None:
        PolicyGradient.__post_init__(self)
        check_clips(self.clip_low, self.clip_high)
        if not self.std_eps > 0:
            raise ConfigError("std_eps must be above 0")

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        return self._against_group(batch, self.std_eps)

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return replace(step, weights=sequence_mean(step.mask, dtype=step.rewards.dtype))

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = sequence_surrogate(part, new.logprobs, self.clip_low, self.clip_high)
        return self._regularised(surrogate, part, new)
