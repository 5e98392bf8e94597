"""IPO: identity preference optimisation (Azar et al. 2023, 2310.12036, eq. 17).

    L = (D_chosen / n_chosen - D_rejected / n_rejected - 1 / (2 beta))^2

A margin is regressed to a target instead of pushed to infinity, which keeps certain preferences
from undoing the constraint. Differs from the paper: log ratios are per token, as in TRL; the
paper's are summed (`per_token: false`).
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class IPO:
    """Identity preference optimisation."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""
    per_token: bool = True
    """Log ratios per token; false: summed, as in the paper."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        chosen, rejected = pairs.chosen_ratio, pairs.rejected_ratio
        if self.per_token:
            chosen = chosen / pairs.len_chosen.clamp(min=1)
            rejected = rejected / pairs.len_rejected.clamp(min=1)
        return (chosen - rejected - 1 / (2 * self.beta)) ** 2
