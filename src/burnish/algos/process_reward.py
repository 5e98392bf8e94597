"""Process reward models: is each step right? (Lightman et al. 2023, 2305.20050; labels without
people: Math-Shepherd, Wang et al. 2023, 2312.08935)

    p_k = sigmoid(z_k),  z_k the head's value at the last token of step k
    L = -y_k log p_k - (1 - y_k) log(1 - p_k), over the labelled steps

    score of a completion:
      product  prod_k p_k   that no step is wrong, were they independent (Lightman et al.)
      min      min_k p_k    as good as the weakest step (Math-Shepherd)
      last     p_K

A product falls with every further step, so it prefers short solutions; the minimum does not.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from burnish.algos.outcome_reward import outcome_losses

Aggregate = Literal["min", "product", "last"]

process_losses = outcome_losses
"""The cross-entropy of each labelled step, in nats: that of outcomes, at other tokens."""


def solution_score(logits: Float[Tensor, " steps"], aggregate: Aggregate) -> Float[Tensor, ""]:
    """A completion's score in [0, 1] from its steps' logits, of which there is at least one."""
    logprobs = torch.nn.functional.logsigmoid(logits)
    if aggregate == "product":
        return logprobs.sum().exp()
    return (logprobs.min() if aggregate == "min" else logprobs[-1]).exp()
