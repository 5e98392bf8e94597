"""Dr. GRPO: GRPO without its two biases (Liu et al. 2025, 2503.20783, section 3.2).

    A_i = R_i - mean_g R                    no division by the standard deviation
    L   = -1/(N budget) sum_i sum_t min(rho_t A_i, clip(rho_t, 1 - clip_low, 1 + clip_high) A_i)

Dividing by the deviation weighs easy and hard problems up; dividing by a completion's own length
makes long wrong answers cheap. `budget` is a constant: the most tokens that a completion may have.
Sampled from: the policy before the step, several completions a problem.
Differs from the paper: nothing. The group mean includes the completion itself, so the expected
gradient is (G-1)/G of the exact one.
"""

from dataclasses import dataclass, replace

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.grpo import check_clips
from burnish.algos.kl import Placement
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.reduce import constant
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DrGRPO(PolicyGradient):
    """GRPO done right."""

    kl: Placement = "loss_k3"
    """Where the penalty sits, if kl_coef is above 0 (the paper has none)."""
    clip_low: float = 0.2
    """How far the ratio may fall before the gradient stops; raising it lets updates go further."""
    clip_high: float = 0.2
    """How far the ratio may rise before the gradient stops."""
    budget: int | None = None
    """Tokens that every row is divided by; none: the width of the rollout's longest completion. In
    a recipe set it to draws.max_new_tokens, so that it is the same at every step."""

    def __post_init__(self) -> None:
        PolicyGradient.__post_init__(self)
        check_clips(self.clip_low, self.clip_high)
        if self.budget is not None and not self.budget >= 1:
            raise ConfigError("budget must be at least 1")

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        return self._against_group(batch, None)

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        divisor = step.mask.shape[1] if self.budget is None else self.budget
        weights = constant(step.mask, divisor=divisor, dtype=step.rewards.dtype)
        return replace(step, weights=weights)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = clipped_surrogate(part, new.logprobs, self.clip_low, self.clip_high)
        return self._regularised(surrogate, part, new)
