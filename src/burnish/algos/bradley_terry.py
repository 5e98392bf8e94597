"""The Bradley-Terry reward loss (Bradley & Terry 1952; InstructGPT 2203.02155 eq. 1; margin from
Llama 2, 2307.09288 eq. 2; centring after Eisenstein et al. 2023, 2312.09244).

    P(chosen beats rejected) = sigmoid(r_chosen - r_rejected)
    L = -log sigmoid(r_chosen - r_rejected - margin) + center_coef (r_chosen + r_rejected)^2
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_losses(
    chosen: Float[Tensor, " N"],
    rejected: Float[Tensor, " N"],
    *,
    margin: Float[Tensor, " N"] | None = None,
    center_coef: float = 0.0,
) -> Float[Tensor, " N"]:
    """The loss of each pair, in nats.

    margin: how much better the chosen one was said to be; raising it asks for wider gaps.
    center_coef: pulls scores towards zero, which differences alone leave free.
    """
    gap = chosen - rejected if margin is None else chosen - rejected - margin
    return -logsigmoid(gap) + center_coef * (chosen + rejected) ** 2


def pair_accuracy(
    chosen: Float[Tensor, " N"], rejected: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """1 where ranked as annotated, 0 where not, one half for a tie."""
    return (torch.sign(chosen - rejected) + 1) / 2
