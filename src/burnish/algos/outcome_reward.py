"""Outcome reward models: will this completion turn out right? (Cobbe et al. 2021, 2110.14168)

    p = sigmoid(z),  z the head's value at a token of the completion
    L = -y log p - (1 - y) log(1 - p)

y is 1 where a verifier passed the whole completion, 0 where not, and may lie between. The labels
come from outcomes alone, so that no one has to read the working. With every token labelled the
model is a value function of its own sampling policy; the score of a completion is p at its end.

Where we differ: cross-entropy, which is a proper score for probabilities; every completion weighs
the same, whatever its length.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def outcome_losses(logits: Float[Tensor, "*N"], labels: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The cross-entropy of each label in [0, 1], in nats."""
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")
