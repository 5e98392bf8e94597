"""Estimators of KL(policy || reference) from samples of the policy, and where the penalty sits.

    delta = log ref - log policy,   k1 = -delta,   k2 = delta^2 / 2,   k3 = exp(delta) - 1 - delta

k1 and k3 have expectation KL; k2 has not, but its gradient is that of the KL (Schulman 2020). All
hold for samples from `policy`, so both arguments are named. Where the policy's draws are truncated
(top-k, top-p, min-p) it cannot choose all that the reference can: then k1 still has expectation KL,
and k3 has less, by the probability that the reference gives to what is cut off.

Where the penalty sits decides what is learnt, with coefficient beta and score R:

    reward_k1          R - beta sum_t k1_t in the reward    policy ~ ref exp(R / beta)
    loss_k2            + beta k2 in the loss                the same
    loss_weighted_k3   + beta rho k3 in the loss            the same
    loss_k3            + beta k3 in the loss                policy = beta ref / (lambda - R)

(for one decision at ratio 1; the last is GRPO's, 2402.03300 eq. 4, whose gradient is that of the
other direction, KL(ref || policy)).
"""

from dataclasses import replace
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from burnish.algos.batch import Need, RolloutBatch, clean, require_tensor

Estimator = Literal["k1", "k2", "k3"]
Placement = Literal["reward_k1", "loss_k2", "loss_k3", "loss_weighted_k3"]


def kl(
    kind: Estimator, *, policy: Float[Tensor, "*S"], ref: Float[Tensor, "*S"]
) -> Float[Tensor, "*S"]:
    """Per-decision estimate of KL(policy || ref); differentiable in `policy`."""
    delta = ref - policy
    match kind:
        case "k1":
            return -delta
        case "k2":
            return delta**2 / 2
        case "k3":
            return torch.expm1(delta) - delta
    assert_never(kind)


def exact_kl(
    policy_logits: Float[Tensor, "*S V"], ref_logits: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S"]:
    """KL(policy || ref) of each decision over the whole vocabulary: an audit of the estimators.

    What the policy cannot choose, whose logit is -inf, adds nothing.
    """
    policy, ref = policy_logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (policy.exp() * (policy - ref).masked_fill(policy.isneginf(), 0)).sum(-1)


def penalty_needs(placement: Placement, coef: float) -> frozenset[Need]:
    """What must be known of a rollout before the penalty can be computed."""
    if coef == 0:
        return frozenset()
    if placement == "reward_k1":
        return frozenset({"old_logprobs", "ref_logprobs"})
    return frozenset({"ref_logprobs"})


def penalised(batch: RolloutBatch, placement: Placement, coef: float) -> RolloutBatch:
    """Rewards and scores less the penalty, where it sits in the reward; masked rewards are zero."""
    rewards = clean(batch.rewards, batch.mask)
    if coef == 0 or placement != "reward_k1":
        return replace(batch, rewards=rewards)
    # The sampler's log-probabilities would add its rounding to every penalty.
    old = require_tensor(batch.old_logprobs, "old_logprobs")
    ref = require_tensor(batch.ref_logprobs, "ref_logprobs")
    penalty = coef * clean(kl("k1", policy=old, ref=ref), batch.mask)
    return replace(batch, rewards=rewards - penalty, scores=batch.scores - penalty.sum(1))


def penalty_loss(
    part: RolloutBatch, logprobs: Float[Tensor, "B T"], placement: Placement, coef: float
) -> Float[Tensor, ""]:
    """The weighted sum of the penalty, where it sits in the loss; else zero."""
    if coef == 0 or placement == "reward_k1":
        return logprobs.new_zeros(())
    weights = clean(require_tensor(part.weights, "weights"), part.mask)
    policy = clean(logprobs, part.mask)
    ref = clean(require_tensor(part.ref_logprobs, "ref_logprobs"), part.mask)
    if placement == "loss_k2":
        return coef * (weights * kl("k2", policy=policy, ref=ref)).sum()
    penalty = kl("k3", policy=policy, ref=ref)
    if placement == "loss_weighted_k3":
        old = policy.detach() if part.old_logprobs is None else clean(part.old_logprobs, part.mask)
        penalty = torch.exp(policy - old) * penalty
    return coef * (weights * penalty).sum()
