"""Robust DPO (Chowdhury et al. 2024, 2403.00409): unbiased under labels flipped at a known
rate.

    h = D_chosen - D_rejected
    L = (-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2 e)

Averaged over labels that are wrong with probability e it equals DPO's loss on the right ones.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.algos.dpo import check_beta, check_label_smoothing
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Robust:
    """DPO with an unbiased correction for noisy labels."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""
    label_smoothing: float = 0.1
    """Probability e that a label is wrong, below one half."""

    def __post_init__(self) -> None:
        check_beta(self.beta)
        check_label_smoothing(self.label_smoothing)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        margin = self.beta * (pairs.chosen_ratio - pairs.rejected_ratio)
        rate = self.label_smoothing
        kept = -(1 - rate) * logsigmoid(margin) + rate * logsigmoid(-margin)
        return kept / (1 - 2 * rate)
