"""DAPO: decoupled clip and dynamic sampling (Yu et al. 2025, 2503.14476, eq. 8 to 13).

    A_i = (R_i - mean_g R) / (std_g R + eps)
    L   = -1/(sum_i |o_i|) sum_i sum_t min(rho_t A_i, clip(rho_t, 1 - clip_low, 1 + clip_high) A_i)

Clip-higher leaves unlikely tokens room to rise; every token of the step weighs the same. Its other
two parts act on the rollout, before the loss: groups without signal are sampled anew
(`dynamic_sampling` of the RL stage), and `overlong_reward` shapes the score:

    0 up to max_tokens - buffer, then linearly down to -1 at max_tokens, -1 beyond      (eq. 13)

Sampled from: the policy before the step, several completions a problem.
Differs from the paper: std is Bessel's, with eps 1e-4; groups that stay without signal once the
budget of samples is spent are kept, with advantage exactly 0, and counted.
"""

from dataclasses import dataclass, replace

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.grpo import check_clips
from burnish.algos.kl import Placement
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.reduce import token_mean
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DAPO(PolicyGradient):
    """Decoupled clip and dynamic sampling policy optimisation."""

    kl: Placement = "loss_k3"
    """Where the penalty sits, if kl_coef is above 0 (the paper has none)."""
    clip_low: float = 0.2
    """How far the ratio may fall before the gradient stops; raising it lets updates go further."""
    clip_high: float = 0.28
    """How far the ratio may rise before the gradient stops; raising it keeps rare tokens alive."""
    std_eps: float | None = 1e-4
    """Added to the group's standard deviation; raising it damps groups that nearly agree. none: no
    division by the deviation, as OLMo 3 has it (2512.13961)."""

    def __post_init__(self) -> None:
        PolicyGradient.__post_init__(self)
        check_clips(self.clip_low, self.clip_high)
        if self.std_eps is not None and not self.std_eps > 0:
            raise ConfigError("std_eps must be above 0, or none")

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        return self._against_group(batch, self.std_eps)

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return replace(step, weights=token_mean(step.mask, dtype=step.rewards.dtype))

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = clipped_surrogate(part, new.logprobs, self.clip_low, self.clip_high)
        return self._regularised(surrogate, part, new)


def overlong_reward(num_tokens: int, *, max_tokens: int, buffer: int) -> float:
    """What is added to the score of a completion of `num_tokens` (eq. 13), between -1 and 0.

    Raises:
        ConfigError: the buffer is not within (0, max_tokens].
    """
    if not 0 < buffer <= max_tokens:
        raise ConfigError(f"buffer must be from 1 to max_tokens={max_tokens}")
    return min(max((max_tokens - buffer - num_tokens) / buffer, -1.0), 0.0)
