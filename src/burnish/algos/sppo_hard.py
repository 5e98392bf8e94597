"""SPPO with hard labels (Wu et al. 2024, 2405.00675).

    L = (D_chosen - 1/(2 beta))^2 + (D_rejected + 1/(2 beta))^2

Each log ratio is regressed to its own target: the chosen one cannot fall while the gap grows.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class SPPOHard:
    """Self-play preference optimisation on pairs."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        target = 0.5 / self.beta
        return (pairs.chosen_ratio - target) ** 2 + (pairs.rejected_ratio + target) ** 2
