"""The clipped surrogate of PPO (Schulman et al. 2017, 1707.06347, eq. 7), as a weighted sum."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Real
from torch import Tensor

from burnish.algos.batch import RolloutBatch, clean, require_tensor


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The loss of a slice, the weights it was summed with, and sums for the log."""

    total: Float[Tensor, ""]
    weights: Float[Tensor, "B T"]
    sums: Mapping[str, Real[Tensor, ""]]


def clipped_surrogate(
    part: RolloutBatch, logprobs: Float[Tensor, "B T"], clip_low: float, clip_high: float
) -> Surrogate:
    """-sum weights * min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A).

    rho = exp(logprobs - old_logprobs); without old_logprobs the step is the rollout's only one and
    rho is 1 with the gradient of logprobs.
    """
    advantages = clean(require_tensor(part.advantages, "advantages"), part.mask)
    weights = clean(require_tensor(part.weights, "weights"), part.mask)
    logprobs = clean(logprobs, part.mask)
    old = logprobs.detach() if part.old_logprobs is None else clean(part.old_logprobs, part.mask)
    ratio = torch.exp(logprobs - old)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    gain = torch.minimum(ratio * advantages, clipped * advantages)
    with torch.no_grad():
        gap = old - logprobs
        sums = {
            "clip_fraction": ((clipped * advantages < ratio * advantages) * part.mask).sum(),
            "approx_kl": ((torch.expm1(-gap) + gap) * part.mask).sum(),
            "decisions": part.mask.sum(),
        }
    return Surrogate(-(weights * gain).sum(), weights, sums)
