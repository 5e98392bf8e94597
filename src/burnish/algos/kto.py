"""KTO: Kahneman-Tversky optimisation (Ethayarajh et al. 2024, 2402.01306), on pairs.

    z = max(0, estimate of KL(policy || reference)),  a constant
    l_chosen   = desirable   (1 - sigmoid(beta (D_chosen - z)))
    l_rejected = undesirable (1 - sigmoid(beta (z - D_rejected)))
    L = (l_chosen + l_rejected) / 2

so that the mean over pairs is the mean over answers. The trainer estimates z on answers to other
prompts of the step, as the paper does; from pairs alone z is the mean of all their log ratios.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class KTO:
    """Kahneman-Tversky optimisation."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""
    desirable: float = 1.0
    """Weight of chosen answers."""
    undesirable: float = 1.0
    """Weight of rejected answers."""

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if not self.desirable >= 0 or not self.undesirable >= 0:
            raise ConfigError("desirable and undesirable must be at least 0")

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        chosen, rejected = pairs.chosen_ratio, pairs.rejected_ratio
        point = torch.cat([chosen, rejected]).mean() if pairs.kl is None else pairs.kl
        point = point.detach().clamp(min=0)
        gain = self.desirable * (1 - (self.beta * (chosen - point)).sigmoid())
        loss = self.undesirable * (1 - (self.beta * (point - rejected)).sigmoid())
        return (gain + loss) / 2
