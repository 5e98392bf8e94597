"""GRPO: group relative policy optimisation (Shao et al. 2024, 2402.03300, eq. 3, 4 and 21).

    A_i   = (R_i - mean_g R) / (std_g R + eps),   the same for every token of completion i
    rho_t = exp(logp_t - old_logp_t)
    L     = -1/N sum_i 1/|o_i| sum_t min(rho_t A_i, clip(rho_t, 1 - clip_low, 1 + clip_high) A_i)
            + kl_coef * 1/N sum_i 1/|o_i| sum_t k3_t

Sampled from: the policy before the step, several completions a problem.
Differs from the paper: std is Bessel's, with eps 1e-4; groups whose rewards are all equal get
exactly 0; unscorable completions get 0 and are left out of the baseline; no KL unless asked for
(the paper has 0.04).
"""

from dataclasses import dataclass, replace

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.kl import Placement
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.reduce import sequence_mean
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPO(PolicyGradient):
    """Group relative policy optimisation."""

    kl: Placement = "loss_k3"
    """Where the penalty sits; k3 in the loss as in the paper, whose optimum is not that of E[r] -
    beta KL (burnish.algos.kl)."""
    clip_low: float = 0.2
    """How far the ratio may fall before the gradient stops; raising it lets updates go further.
    From 1 on, as DeepSeek-R1 has it (2501.12948: 10), it may fall to anything."""
    clip_high: float = 0.2
    """How far the ratio may rise before the gradient stops."""
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
        surrogate = clipped_surrogate(part, new.logprobs, self.clip_low, self.clip_high)
        return self._regularised(surrogate, part, new)


def check_clips(clip_low: float, clip_high: float) -> None:
    """Raises: ConfigError, where the range of the ratio is none."""
    for name, clip in (("clip_low", clip_low), ("clip_high", clip_high)):
        if not 0 < clip < float("inf"):
            raise ConfigError(f"{name} must be above 0 and finite")
