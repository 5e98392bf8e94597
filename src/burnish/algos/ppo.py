"""PPO: proximal policy optimisation (Schulman et al. 2017, 1707.06347, eq. 7 and 9), and its form
for language models with a KL penalty in the reward (Ziegler et al. 2019, 1909.08593, eq. 2).

    r_t  = reward_t - kl_coef (old_logp_t - ref_logp_t)               k1, per decision
    A, R = GAE(r, V; gamma, gae_lambda); A whitened over the rollout, R from the unwhitened A
    L    = -mean_t min(rho_t A_t, clip(rho_t, 1 - clip, 1 + clip) A_t)
           + value_coef * mean_t 1/2 max((V - R)^2, (V_clipped - R)^2) - entropy_coef * mean_t H_t

Sampled from: the policy before the step.
Differs from the paper: the mean is over all decisions of the optimiser step; V_clipped keeps V
within value_clip of its value at rollout time (0 switches that off).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from burnish.algos.advantages import gae, whiten
from burnish.algos.batch import Loss, Need, PolicyOutputs, RolloutBatch, clean, require_tensor
from burnish.algos.kl import kl
from burnish.algos.reduce import token_mean
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class PPO:
    """Proximal policy optimisation with a value function."""

    clip: float = 0.2
    """Range of the ratio; raising it lets one update go further."""
    kl_coef: float = 0.0
    """Price of a nat of KL to the reference, in the reward; 0 needs no reference model. The optimum
    is ref exp(reward / kl_coef) over whole completions."""
    gamma: float = 1.0
    """Discount per decision; 1 for text."""
    gae_lambda: float = 0.95
    """1 is the Monte Carlo return, 0 the one-step TD error."""
    value_coef: float = 0.1
    """Weight of the value loss."""
    value_clip: float = 0.2
    """How far the value may move from its value at rollout time; 0: no clipping."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus; raising it keeps the policy exploring."""
    whiten_advantages: bool = True
    """Advantages to mean 0 and standard deviation 1 over the rollout."""

    def __post_init__(self) -> None:
        if not 0 < self.clip < 1:
            raise ConfigError("clip must be in (0, 1)")
        if not 0 < self.gamma <= 1 or not 0 <= self.gae_lambda <= 1:
            raise ConfigError("gamma must be in (0, 1] and gae_lambda in [0, 1]")
        for name in ("kl_coef", "value_coef", "value_clip", "entropy_coef"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0")

    def needs(self) -> frozenset[Need]:
        if self.kl_coef:
            return frozenset({"values", "old_logprobs", "ref_logprobs"})
        return frozenset({"values"})

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        rewards = clean(batch.rewards, batch.mask)
        if self.kl_coef:
            # The sampler's log-probabilities would add its rounding to every penalty.
            old = require_tensor(batch.old_logprobs, "old_logprobs")
            ref = require_tensor(batch.ref_logprobs, "ref_logprobs")
            rewards = rewards - self.kl_coef * clean(kl("k1", policy=old, ref=ref), batch.mask)
        advantages, returns = gae(
            rewards=rewards,
            values=clean(require_tensor(batch.values, "values"), batch.mask),
            next_values=require_tensor(batch.next_values, "next_values"),
            terminated=batch.terminated,
            truncated=batch.truncated,
            mask=batch.mask,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
        )
        if self.whiten_advantages:
            advantages = whiten(advantages, batch.mask)
        return replace(batch, rewards=rewards, advantages=advantages, returns=returns)

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return replace(step, weights=token_mean(step.mask, dtype=step.rewards.dtype))

    def inert(self, batch: RolloutBatch) -> Bool[Tensor, " B"]:
        return ~batch.mask.any(dim=1)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = clipped_surrogate(part, new.logprobs, self.clip, self.clip)
        value_error = self._value_error(part, require_tensor(new.values, "new values"))
        value_loss = (surrogate.weights * value_error).sum()
        total = surrogate.total + self.value_coef * value_loss
        if self.entropy_coef:
            entropy = clean(require_tensor(new.entropy, "entropy"), part.mask)
            total = total - self.entropy_coef * (surrogate.weights * entropy).sum()
        value_sum = (value_error.detach() * part.mask).sum()
        return Loss(total, {**surrogate.sums, "value_loss": value_sum})

    def _value_error(self, part: RolloutBatch, values: Tensor) -> Tensor:
        values = clean(values, part.mask)
        returns = clean(require_tensor(part.returns, "returns"), part.mask)
        error = (values - returns) ** 2
        if self.value_clip:
            old = clean(require_tensor(part.values, "values"), part.mask)
            near = old + (values - old).clamp(-self.value_clip, self.value_clip)
            error = torch.maximum(error, (near - returns) ** 2)
        return error / 2
