"""Estimators of KL(policy || ref) from the log-probabilities of actions sampled from the policy.

With delta = log ref - log policy (Schulman 2020, "Approximating KL divergence"):

    k1 = -delta             unbiased, high variance; may be negative
    k2 = delta^2 / 2        biased; its gradient in the loss is that of the exact KL
    k3 = exp(delta) - 1 - delta   unbiased, never negative; its gradient in the loss is that of
                            KL(ref || policy), not of the KL it estimates

The direction matters: these hold for samples from `policy`, so both arguments are named.
"""

from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]


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
