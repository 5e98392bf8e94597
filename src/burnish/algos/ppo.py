"""PPO: proximal policy optimisation (Schulman et al. 2017, 1707.06347, eq. 7 and 9), and its form
for language models with a KL penalty in the reward (Ziegler et al. 2019, 1909.08593, eq. 2).

    r_t  = reward_t - kl_coef (old_logp_t - ref_logp_t)               k1, per decision
    A, R = GAE(r, V; gamma, gae_lambda); A whitened over the rollout, R from the unwhitened A
    L    = -mean_t min(rho_t A_t, clip(rho_t, 1 - clip, 1 + clip) A_t)
           + value_coef * mean_t 1/2 max((V - R)^2, (V_clipped - R)^2) - entropy_coef * mean_t H_t

With kl_target the coefficient follows each rollout's measured KL (Ziegler et al., section 2.2):

    kl_coef <- kl_coef (1 + clip(KL / kl_target - 1, -0.2, 0.2) * completions / kl_horizon)

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
from burnish.algos.kl import kl, penalised
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.reduce import token_mean
from burnish.algos.surrogate import clipped_surrogate
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class PPO(PolicyGradient):
    """Proximal policy optimisation with a value function."""

    clip: float = 0.2
    """Range of the ratio; raising it lets one update go further."""
    gamma: float = 1.0
    """Discount per decision; 1 for text."""
    gae_lambda: float = 0.95
    """1 is the Monte Carlo return, 0 the one-step TD error."""
    value_coef: float = 0.1
    """Weight of the value loss."""
    value_clip: float = 0.2
    """How far the value may move from its value at rollout time; 0: no clipping."""
    whiten_advantages: bool = True
    """Advantages to mean 0 and standard deviation 1 over the rollout."""
    whiten_rewards: bool = False
    """Rewards, penalty included, to standard deviation 1 over the rollout; their mean is kept."""
    dual_clip: float = 0.0
    """Bound of the loss where the advantage is negative and the ratio large (1912.09729: 3); 0:
    none."""
    kl_target: float = 0.0
    """Nats of KL a completion that kl_coef is steered towards; 0 keeps kl_coef as it is."""
    kl_horizon: int = 10000
    """Completions over which kl_coef adapts; raising it makes it slower."""

    def __post_init__(self) -> None:
        PolicyGradient.__post_init__(self)
        if not 0 < self.clip < 1:
            raise ConfigError("clip must be in (0, 1)")
        if not 0 < self.gamma <= 1 or not 0 <= self.gae_lambda <= 1:
            raise ConfigError("gamma must be in (0, 1] and gae_lambda in [0, 1]")
        for name in ("value_coef", "value_clip", "kl_target"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0")
        if self.dual_clip and not self.dual_clip > 1:
            raise ConfigError("dual_clip must be above 1, or 0 for none")
        if self.kl_target and not self.kl_coef:
            raise ConfigError("kl_target steers kl_coef, which must then be above 0")
        if self.kl_horizon < 1:
            raise ConfigError("kl_horizon must be at least 1")

    def needs(self) -> frozenset[Need]:
        found: frozenset[Need] = PolicyGradient.needs(self) | {"values"}
        if self.kl_target:
            found |= {"old_logprobs", "ref_logprobs"}
        return found

    @property
    def compares_groups(self) -> bool:
        return False

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        rewards = penalised(batch, self.kl, self.kl_coef).rewards
        if self.whiten_rewards:
            rewards = clean(whiten(rewards, batch.mask, keep_mean=True), batch.mask)
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
        """Only rows without decisions: the value of every other one is learnt."""
        return ~batch.mask.any(dim=1)

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        surrogate = clipped_surrogate(
            part, new.logprobs, self.clip, self.clip, dual_clip=self.dual_clip
        )
        loss = self._regularised(surrogate, part, new)
        weights = clean(require_tensor(part.weights, "weights"), part.mask)
        value_error = self._value_error(part, require_tensor(new.values, "new values"))
        total = loss.total + self.value_coef * (weights * value_error).sum()
        value_sum = (value_error.detach() * part.mask).sum()
        return Loss(total, {**loss.sums, "value_loss": value_sum})

    def after(self, batch: RolloutBatch) -> "PPO":
        """kl_coef one controller step on, from the KL of this rollout's completions."""
        scored = batch.mask.any(dim=1)
        if not self.kl_target or not bool(scored.any()):
            return self
        old = require_tensor(batch.old_logprobs, "old_logprobs")
        ref = require_tensor(batch.ref_logprobs, "ref_logprobs")
        measured = clean(kl("k1", policy=old, ref=ref), batch.mask).sum(1)[scored].mean()
        error = min(max(float(measured) / self.kl_target - 1, -0.2), 0.2)
        step = error * int(scored.sum()) / self.kl_horizon
        return replace(self, kl_coef=self.kl_coef * (1 + step))

    def _value_error(self, part: RolloutBatch, values: Tensor) -> Tensor:
        values = clean(values, part.mask)
        returns = clean(require_tensor(part.returns, "returns"), part.mask)
        error = (values - returns) ** 2
        if self.value_clip:
            old = clean(require_tensor(part.values, "values"), part.mask)
            near = old + (values - old).clamp(-self.value_clip, self.value_clip)
            error = torch.maximum(error, (near - returns) ** 2)
        return error / 2
