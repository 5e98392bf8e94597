"""ORPO: odds ratio preference optimisation (Hong et al. 2024, 2403.07691, eq. 6 and 7).

    p = exp(S / n),  odds = p / (1 - p)
    L = -S_chosen / n_chosen - beta log sigmoid(log odds_chosen - log odds_rejected)

Supervised fine-tuning on the chosen answer with a preference term: no reference and no stage before
it. beta is the paper's lambda. Differs from the paper: nothing; TRL averages the first term over
the tokens of the batch rather than over each answer.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.algos.dpo import check_beta
from burnish.algos.pairs import PairLogprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class ORPO:
    """Odds ratio preference optimisation."""

    needs_reference: ClassVar[bool] = False

    beta: float = 0.1
    """Weight of the preference term."""

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def losses(self, pairs: PairLogprobs) -> Float[Tensor, " N"]:
        """The loss of each pair."""
        chosen, rejected = pairs.chosen_mean, pairs.rejected_mean
        log_odds = (chosen - _log1mexp(chosen)) - (rejected - _log1mexp(rejected))
        return -chosen - self.beta * logsigmoid(log_odds)


def _log1mexp(logp: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """log(1 - exp(logp)) for logp < 0, exact near 0 and far from it (Maechler 2012)."""
    near = logp > -0.6931471805599453
    safe = torch.where(near, logp, torch.full_like(logp, -0.5)).clamp(max=-1e-12)
    far = torch.where(near, torch.full_like(logp, -1.0), logp)
    return torch.where(near, torch.log(-torch.expm1(safe)), torch.log1p(-torch.exp(far)))
