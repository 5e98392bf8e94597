"""GRPO: group relative policy optimisation (Shao et al. 2024, 2402.03300, eq. 3 and 21).

    A_i     = (R_i - mean_g R) / (std_g R + eps),   the same for every token of completion i
    rho_t   = exp(logp_t - old_logp_t)
    L       = -1/N sum_i 1/|o_i| sum_t min(rho_t A_i, clip(rho_t, 1 - clip_low, 1 + clip_high) A_i)
              + kl_coef * 1/N sum_i 1/|o_i| sum_t k3_t

Sampled from: the policy before the step, several completions a problem.
Differs from the paper: std is Bessel's, with eps 1e-4; groups whose rewards are all equal get
exactly 0; unscorable completions get 0 and are left out of the baseline.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from burnish.algos.advantages import all_equal, group_means
from burnish.algos.batch import Loss, Need, PolicyOutputs, RolloutBatch, clean, require_tensor
from burnish.algos.kl import kl
from burnish.algos.reduce import sequence_mean
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPO:
    """Group relative policy optimisation."""

    clip_low: float = 0.2
    """How far the ratio may fall before the gradient stops; raising it lets updates go further."""
    clip_high: float = 0.2
    """How far the ratio may rise before the gradient stops."""
    kl_coef: float = 0.0
    """Weight of k3 to the reference in the loss; 0 needs no reference model. A decision
    settles at kl_coef ref / (lambda - A); a KL in the reward leads to ref exp(A / kl_coef)."""
    std_eps: float = 1e-4
    """Added to the group's standard deviation; raising it damps groups that nearly agree."""

    def __post_init__(self) -> None:
        if not 0 < self.clip_low < 1 or not self.clip_high > 0:
            raise ConfigError("clip_low must be in (0, 1) and clip_high above 0")
        if not self.kl_coef >= 0 or not self.std_eps > 0:
            raise ConfigError("kl_coef must be at least 0 and std_eps above 0")

    def needs(self) -> frozenset[Need]:
        return frozenset({"ref_logprobs"} if self.kl_coef else ())

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        mean, std, _ = group_means(batch.scores, batch.group)
        silent = all_equal(batch.scores, batch.group) | ~batch.scores.isfinite()
        advantage = torch.where(silent, 0.0, (batch.scores - mean) / (std + self.std_eps))
        spread = advantage[:, None].expand(batch.mask.shape)
        return replace(batch, advantages=clean(spread, batch.mask))

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return replace(step, weights=sequence_mean(step.mask, dtype=step.rewards.dtype))

    def inert(self, batch: RolloutBatch) -> Bool[Tensor, " B"]:
        advantages = require_tensor(batch.advantages, "advantages")
        return (advantages == 0).all(dim=1) & (self.kl_coef == 0)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = clipped_surrogate(part, new.logprobs, self.clip_low, self.clip_high)
        total = surrogate.total
        if self.kl_coef:
            logprobs = clean(new.logprobs, part.mask)
            ref = clean(require_tensor(part.ref_logprobs, "ref_logprobs"), part.mask)
            penalty = kl("k3", policy=logprobs, ref=ref)
            total = total + self.kl_coef * (surrogate.weights * penalty).sum()
        return Loss(total, surrogate.sums)
