"""APO-down: anchored preference optimisation (D'Oosterlinck et al. 2024, 2408.06266).

    L = sigmoid(beta D_chosen) + 1 - sigmoid(beta (D_chosen - D_rejected))

Lowers both answers and the rejected one more: for a model that is better than the data.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class APODown:
    """Anchored preference optimisation, down for both."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        chosen, rejected = pairs.chosen_ratio, pairs.rejected_ratio
        return (self.beta * chosen).sigmoid() + 1 - (self.beta * (chosen - rejected)).sigmoid()
