"""What an RL stage learns beside its reward: the likelihood of given documents.

    L = L_rl + coef * L_likelihood

PPO-ptx (InstructGPT, 2203.02155, eq. 2) is PPO with the pretraining data's likelihood beside it,
which keeps abilities that the reward does not ask for: coef 27.8, and eight pretraining examples
for each completion. Every optimiser step adds up the gradients of both, which are clipped together.
The equation's E[log p(x)] is a mean over documents of a sum over their tokens: `token_sum`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from burnish import rng
from burnish.algos.batch import Loss
from burnish.algos.sft import SFTLoss
from burnish.config import require, require_counts
from burnish.data.mixture import weighted
from burnish.engine.likelihood import likelihood_losses
from burnish.engine.text_model import TextModel
from burnish.models.policy import Tree
from burnish.pipeline.artifact import DocumentsRef
from burnish.pipeline.stage import Context
from burnish.stages.demonstrations import read_documents
from burnish.text.chat import TrainOn


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Documents whose likelihood is learnt in the same optimiser steps."""

    data: tuple[DocumentsRef, ...]
    """Plain texts, conversations or completions, each row equally likely."""
    coef: float
    """Weight of their loss beside the policy's."""
    batch_rows: int
    """Rows beside each optimiser step, of which a rollout has epochs * minibatches. InstructGPT has
    eight times the completions of the step."""
    loss: SFTLoss = SFTLoss()
    """token_mean, a mean over the tokens of the step; or token_sum, over its rows."""
    train_on: TrainOn = "assistant"
    """Of conversations."""
    max_tokens: int = 1024
    """Longer conversations are dropped and counted; longer texts are read in pieces."""

    def __post_init__(self) -> None:
        require(bool(self.data), "data must name at least one source")
        require(0 < self.coef < math.inf, "coef must be above 0 and finite")
        require_counts(self, "batch_rows", "max_tokens")

    def open(
        self, ctx: Context, text: TextModel, micro_tokens: int
    ) -> Callable[[int], Iterator[Loss]]:
        """The slices beside an optimiser step, from its number: there is no cursor to save."""
        sources = read_documents(
            ctx, text, self.data, train_on=self.train_on, max_tokens=self.max_tokens
        )
        trees = [Tree.document(row.ids, row.mask) for rows in sources for row in rows]
        seed, count = rng.key(ctx.seed, "beside"), self.batch_rows

        def slices(update: int) -> Iterator[Loss]:
            draws = weighted([len(trees)], [1.0], seed=seed, first=update * count, count=count)
            chosen = [trees[draw.row] for draw in draws]
            for part in likelihood_losses(text.model, chosen, self.loss, micro_tokens):
                yield Loss(self.coef * part.total, {f"beside_{n}": v for n, v in part.sums.items()})

        return slices
