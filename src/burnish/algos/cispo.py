"""CISPO: clipped importance weights, no clipped tokens (MiniMax 2025, 2506.13585, eq. 4 and 5).

    A_i = (R_i - mean_g R) / (std_g R + eps)
    L   = -1/(sum_i |o_i|) sum_i sum_t stop(min(rho_t, 1 + clip_high)) A_i logp_t

The weight is a constant: its clip bounds how much a token counts, and every token keeps a gradient.
Sampled from: the policy before the step, several completions a problem.
Differs from the paper: std is Bessel's, with eps 1e-4; the paper does not give its clip, 0.2 is
ours. TRL's epsilon_high is the absolute cap, 1 + clip_high here.
"""

from dataclasses import dataclass, replace

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.kl import Placement
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.reduce import token_mean
from burnish.algos.surrogate import weighted_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CISPO(PolicyGradient):
    """Clipped importance-sampling policy optimisation."""

    kl: Placement = "loss_k3"
    """Where the penalty sits, if kl_coef is above 0 (the paper has none)."""
    clip_high: float = 0.2
    """How far above 1 a token's weight may rise; raising it trusts old samples more."""
    std_eps: float = 1e-4
    """Added to the group's standard deviation; raising it damps groups that nearly agree."""

    def __post_init__(self) -> None:
        PolicyGradient.__post_init__(self)
        if not 0 < self.clip_high < float("inf") or not self.std_eps > 0:
            raise ConfigError("clip_high and std_eps must be above 0")

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        return self._against_group(batch, self.std_eps)

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return replace(step, weights=token_mean(step.mask, dtype=step.rewards.dtype))

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        return self._regularised(weighted_surrogate(part, new.logprobs, self.clip_high), part, new)
