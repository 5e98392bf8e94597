"""Surrogate objectives as weighted sums: what the ratio is, and how it is held near one.

    rho_t = exp(logp_t - old_logp_t);  without old_logp the step is the rollout's only one, and rho
    is 1 with the gradient of logp

Truncated importance sampling, where asked for, multiplies each term by a constant (Yao et al. 2025;
Espeholt et al. 2018, 1802.01561): the sampler's weights and rounding are not quite the learner's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from burnish.algos.batch import RolloutBatch, clean, require_tensor


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The loss of a slice, and sums for the log."""

    total: Float[Tensor, ""]
    sums: Mapping[str, Real[Tensor, ""]]


def clipped_surrogate(
    part: RolloutBatch,
    logprobs: Float[Tensor, "B T"],
    clip_low: float,
    clip_high: float,
    *,
    dual_clip: float = 0.0,
) -> Surrogate:
    """-sum w min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A): PPO (1707.06347, eq. 7).

    dual_clip c > 1: where A < 0 the gain is at least c A (Ye et al. 2019, 1912.09729).
    """
    log_ratio, advantages = _log_ratio(part, logprobs), _advantages(part)
    return _clipped(part, log_ratio, log_ratio, advantages, clip_low, clip_high, dual_clip)


def sequence_surrogate(
    part: RolloutBatch, logprobs: Float[Tensor, "B T"], clip_low: float, clip_high: float
) -> Surrogate:
    """The clipped surrogate with one ratio a row, exp(mean_t log rho_t): GSPO (2507.18071)."""
    log_ratio = _log_ratio(part, logprobs)
    lengths = part.mask.sum(dim=1, keepdim=True).clamp(min=1)
    whole = (log_ratio.sum(dim=1, keepdim=True) / lengths).expand(part.mask.shape)
    return _clipped(part, whole, log_ratio, _advantages(part), clip_low, clip_high, 0.0)


def weighted_surrogate(
    part: RolloutBatch, logprobs: Float[Tensor, "B T"], clip_high: float
) -> Surrogate:
    """-sum w stop(min(rho, 1 + clip_high)) A logp: CISPO (2506.13585, eq. 4)."""
    log_ratio, advantages = _log_ratio(part, logprobs), _advantages(part)
    ratio = torch.exp(log_ratio.detach())
    gain = ratio.clamp(max=1 + clip_high) * advantages * clean(logprobs, part.mask)
    return _surrogate(part, gain, log_ratio, ratio > 1 + clip_high)


def score_function_surrogate(part: RolloutBatch, logprobs: Float[Tensor, "B T"]) -> Surrogate:
    """-sum w A logp: REINFORCE (Williams 1992); only for completions of the policy itself."""
    gain = _advantages(part) * clean(logprobs, part.mask)
    nothing = torch.zeros_like(part.mask)
    return _surrogate(part, gain, _log_ratio(part, logprobs), nothing)


def _clipped(
    part: RolloutBatch,
    log_ratio: Tensor,
    per_decision: Tensor,
    advantages: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Surrogate:
    ratio = torch.exp(log_ratio)
    free = ratio * advantages
    held = ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    clipped = held < free
    gain = torch.where(clipped, held, free)  # the minimum; its gradient costs half of torch's
    if dual_clip:
        floor = dual_clip * advantages
        clipped = clipped | ((advantages < 0) & (floor > gain))
        gain = torch.where(advantages < 0, torch.maximum(gain, floor), gain)
    return _surrogate(part, gain, per_decision, clipped)


def _surrogate(
    part: RolloutBatch, gain: Tensor, log_ratio: Tensor, clipped: Bool[Tensor, "B T"]
) -> Surrogate:
    weights = clean(require_tensor(part.weights, "weights"), part.mask)
    if part.importance is not None:
        gain = clean(part.importance, part.mask) * gain
    with torch.no_grad():
        sums = {
            "clip_fraction": (clipped & part.mask).sum(),
            "approx_kl": ((torch.expm1(log_ratio) - log_ratio) * part.mask).sum(),
            "decisions": part.mask.sum(),
        }
    return Surrogate(-(weights * gain).sum(), sums)


def _log_ratio(part: RolloutBatch, logprobs: Tensor) -> Tensor:
    logprobs = clean(logprobs, part.mask)
    old = logprobs.detach() if part.old_logprobs is None else clean(part.old_logprobs, part.mask)
    return logprobs - old


def _advantages(part: RolloutBatch) -> Tensor:
    return clean(require_tensor(part.advantages, "advantages"), part.mask)
