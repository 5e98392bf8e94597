"""DPO: direct preference optimisation (Rafailov et al. 2023, 2305.18290, eq. 7).

    h = D_chosen - D_rejected,  D = log pi(y|x) - log ref(y|x), summed over the completion
    L = -(1 - label_smoothing) log sigmoid(beta h) - label_smoothing log sigmoid(-beta h)

label_smoothing > 0 is conservative DPO (Mitchell 2023): the annotator errs with that probability.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.algos.pairs import PairLogprobs
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DPO:
    """Direct preference optimisation."""

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    """Strength of the KL constraint; raising it keeps the policy nearer to the reference."""
    label_smoothing: float = 0.0
    """Assumed probability that a label is wrong, below one half; raising it tempers the loss."""

    def __post_init__(self) -> None:
        check_beta(self.beta)
        check_label_smoothing(self.label_smoothing)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        margin = self.beta * (pairs.chosen_ratio - pairs.rejected_ratio)
        right, wrong = -logsigmoid(margin), -logsigmoid(-margin)
        return (1 - self.label_smoothing) * right + self.label_smoothing * wrong


def check_beta(beta: float) -> None:
    """Raises: ConfigError, unless beta is above 0 and finite."""
    if not 0 < beta < float("inf"):
        raise ConfigError("beta must be above 0")


def check_label_smoothing(label_smoothing: float) -> None:
    """Raises: ConfigError, unless it is a probability below one half."""
    if not 0 <= label_smoothing < 0.5:
        raise ConfigError("label_smoothing must be in [0, 0.5)")
