"""The hinge loss on DPO's margin (SLiC-HF, Zhao et al. 2023, 2305.10425; RSO, Liu et al. 2023,
2309.06657).

    L = max(0, 1 - beta (D_chosen - D_rejected))

Pairs that are ranked well enough have no gradient.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Hinge:
    """Hinge loss on log ratios."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        margin = self.beta * (pairs.chosen_ratio - pairs.rejected_ratio)
        return (1 - margin).clamp(min=0)
