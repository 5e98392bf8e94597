"""NCA on pairs: noise contrastive alignment (Chen et al. 2024, 2402.05369).

    L = -log sigmoid(beta D_chosen)
        - 1/2 log sigmoid(-beta D_chosen) - 1/2 log sigmoid(-beta D_rejected)

Optimises absolute likelihoods, so that the chosen answer's does not fall as it may under DPO.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class NCAPair:
    """Noise contrastive alignment on pairs."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        chosen = self.beta * pairs.chosen_ratio
        rejected = self.beta * pairs.rejected_ratio
        return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)
