"""Reward models by regression on attributes (HelpSteer2, Wang et al. 2024, 2406.08673, as in
Nemotron-4 340B, 2406.11704).

    L = (z_k - y_k)^2  for each attribute k that was rated, such as helpfulness or verbosity
    score = sum_k w_k z_k

The head has one output an attribute, read at the last token; the weights w are chosen afterwards,
so that one model serves several wishes.

Where we differ: attributes are standardised over the training ratings before the regression and
given back on their own scale, so that none counts more for having the wider one.
"""

from jaxtyping import Float
from torch import Tensor


def attribute_losses(
    predicted: Float[Tensor, "N K"], rated: Float[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """The squared error of each attribute of each completion."""
    return (predicted - rated) ** 2
