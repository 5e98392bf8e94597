"""DPO: direct preference optimisation (Rafailov et al. 2023, 2305.18290, eq. 7).

    h = (logp(chosen) - ref(chosen)) - (logp(rejected) - ref(rejected)),  sums over the completion
    L = -(1 - label_smoothing) log sigmoid(beta h) - label_smoothing log sigmoid(-beta h)

label_smoothing > 0 is conservative DPO (Mitchell 2023): the annotator errs with that probability.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DPO:
    """Direct preference optimisation."""

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""
    label_smoothing: float = 0.0
    """Assumed probability that a label is wrong, below one half; raising it tempers the loss."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ConfigError("beta must be above 0")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError("label_smoothing must be in [0, 0.5)")

    def losses(
        self,
        *,
        policy_chosen: Float[Tensor, " N"],
        policy_rejected: Float[Tensor, " N"],
        ref_chosen: Float[Tensor, " N"],
        ref_rejected: Float[Tensor, " N"],
    ) -> Float[Tensor, " N"]:
        """The loss of each pair, from summed log-probabilities of whole completions."""
        margin = (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)
        right = -logsigmoid(self.beta * margin)
        wrong = -logsigmoid(-self.beta * margin)
        return (1 - self.label_smoothing) * right + self.label_smoothing * wrong
