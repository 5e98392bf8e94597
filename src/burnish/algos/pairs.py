"""What every direct-alignment loss reads: log-probabilities of a better and a worse answer.

S = summed log-probability of an answer,  n = its tokens,  D = S_policy - S_reference
"""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from burnish.algos.batch import require_tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PairLogprobs:
    """Summed log-probabilities of `N` pairs, and the lengths of the answers in tokens."""

    policy_chosen: Float[Tensor, " N"]
    policy_rejected: Float[Tensor, " N"]
    len_chosen: Int[Tensor, " N"]
    len_rejected: Int[Tensor, " N"]
    ref_chosen: Float[Tensor, " N"] | None = None
    """None where the algorithm needs no reference."""
    ref_rejected: Float[Tensor, " N"] | None = None
    margin: Float[Tensor, " N"] | None = None
    """How much better the chosen answers were said to be; None: nobody said."""
    kl: Float[Tensor, ""] | None = None
    """KTO's reference point, for the whole step; None: estimated from these pairs."""

    @property
    def chosen_ratio(self) -> Float[Tensor, " N"]:
        """D of the better answers."""
        return self.policy_chosen - require_tensor(self.ref_chosen, "ref_chosen")

    @property
    def rejected_ratio(self) -> Float[Tensor, " N"]:
        """D of the worse answers."""
        return self.policy_rejected - require_tensor(self.ref_rejected, "ref_rejected")

    @property
    def chosen_mean(self) -> Float[Tensor, " N"]:
        """Log-probability per token of the better answers."""
        return self.policy_chosen / self.len_chosen.clamp(min=1)

    @property
    def rejected_mean(self) -> Float[Tensor, " N"]:
        """Log-probability per token of the worse answers."""
        return self.policy_rejected / self.len_rejected.clamp(min=1)


class PreferenceAlgorithm(Protocol):
    """A loss for each pair. Implementations are frozen dataclasses."""

    @property
    def beta(self) -> float:
        """Scale of the implicit reward."""

    @property
    def needs_reference(self) -> bool:
        """Whether the reference's log-probabilities are read."""

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
