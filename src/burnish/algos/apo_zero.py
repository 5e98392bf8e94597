"""APO-zero: anchored preference optimisation (D'Oosterlinck et al. 2024, 2408.06266).

    L = 1 - sigmoid(beta D_chosen) + sigmoid(beta D_rejected)

Raises the chosen answer and lowers the rejected one: for data better than the model.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class APOZero:
    """Anchored preference optimisation, up and down."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        up = (self.beta * pairs.chosen_ratio).sigmoid()
        down = (self.beta * pairs.rejected_ratio).sigmoid()
        return 1 - up + down
