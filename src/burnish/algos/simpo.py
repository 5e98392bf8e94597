"""SimPO: simple preference optimisation (Meng et al. 2024, 2405.14734, eq. 6).

    L = -log sigmoid(beta (S_chosen / n_chosen - S_rejected / n_rejected) - gamma)

No reference model: the reward is the log-probability per token, which is what decoding maximises.
Where others write beta (... - gamma'), gamma' is gamma / beta here.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SIMPO:
    """Simple preference optimisation."""

    needs_reference: ClassVar[bool] = False

    beta: float = 2.0
    """Scale of the reward; raising it sharpens the loss."""
    gamma: float = 0.5
    """Margin by which the chosen answer should win; raising it pushes further."""

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if not 0 <= self.gamma < float("inf"):
            raise ConfigError("gamma must be at least 0")

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        margin = self.beta * (pairs.chosen_mean - pairs.rejected_mean)
        return -logsigmoid(margin - self.gamma)
