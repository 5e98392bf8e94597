"""RPO: reward-aware preference optimisation (Nemotron-4 340B, 2406.11704, section 3.3.2).

    a = beta (D_chosen - D_rejected),   b = eta (r_chosen - r_rejected)
    L = sigmoid(b) log(sigmoid(b) / sigmoid(a)) + (1 - sigmoid(b)) log((1 - sigmoid(b))
        / (1 - sigmoid(a)))

The KL divergence between two coins: how sure the reward's difference is that the chosen answer is
better, and how sure the policy is. DPO drives the policy's gap ever wider; here it stops where it
says what the reward says, so that an answer nearly as good as the chosen one is not unlearnt. As
b grows without bound it is DPO. r_chosen - r_rejected is the pair's `margin`. (TRL's `rpo_alpha` is
something else: DPO with the chosen answers' likelihood beside it, here the stage's `nll_coef`.)
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, sigmoid
from torch.nn.functional import logsigmoid

from burnish.algos.batch import require_tensor
from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RPO:
    """Reward-aware preference optimisation."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""
    eta: float = 1.0
    """Scale of the pairs' margins; raising it asks for a wider gap. The paper has 1."""

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if not 0 < self.eta < float("inf"):
            raise ConfigError("eta must be above 0 and finite")

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        own = self.beta * (pairs.chosen_ratio - pairs.rejected_ratio)
        said = self.eta * require_tensor(pairs.margin, "margin")
        return sigmoid(said) * (logsigmoid(said) - logsigmoid(own)) + sigmoid(-said) * (
            logsigmoid(-said) - logsigmoid(-own)
        )
