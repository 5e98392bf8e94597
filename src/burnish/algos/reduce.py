"""Normalisers: per-decision weights for one whole optimiser step.

They are computed before anything is split, so that micro-batches, packing and ranks only ever sum
`weights * term`, and a step in eight slices equals the step in one.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def token_mean(
    mask: Bool[Tensor, "B T"], *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "B T"]:
    """Every decision of the step weighs the same: 1 / (number of decisions)."""
    weights = mask.to(dtype)
    return weights / weights.sum().clamp(min=1)


def sequence_mean(
    mask: Bool[Tensor, "B T"], *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "B T"]:
    """Every row weighs the same: 1 / (rows * the row's decisions). Rows without any weigh zero."""
    weights = mask.to(dtype)
    lengths = weights.sum(dim=1, keepdim=True)
    return weights / lengths.clamp(min=1) / (lengths > 0).sum().clamp(min=1)


def constant(
    mask: Bool[Tensor, "B T"], *, divisor: float, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "B T"]:
    """1 / (rows * divisor): a length budget in place of each row's own length (Dr. GRPO)."""
    return mask.to(dtype) / (divisor * max(mask.shape[0], 1))
