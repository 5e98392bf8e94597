"""Length-normalised DPO, as Tulu 3 trains with it (Lambert et al. 2024, 2411.15124).

    L = -log sigmoid(beta (D_chosen / n_chosen - D_rejected / n_rejected))

Per token, so that a longer answer has no larger margin for its length alone; beta is therefore
larger (5 in the paper).
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class DPONorm:
    """DPO on log ratios per token."""

    needs_reference: ClassVar[bool] = True

    beta: float = 5.0
    """Strength of the constraint per token; raising it keeps the policy nearer to the reference."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        chosen = pairs.chosen_ratio / pairs.len_chosen.clamp(min=1)
        rejected = pairs.rejected_ratio / pairs.len_rejected.clamp(min=1)
        return -logsigmoid(self.beta * (chosen - rejected))
