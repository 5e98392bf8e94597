"""The likelihood of documents as slices of an optimiser step: what SFT is, and what RL may have
beside it."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from burnish.algos.batch import Loss
from burnish.algos.sft import SFTLoss
from burnish.models.policy import Forest, Tree, micro_batches, score_trees


def likelihood_losses(
    model: nn.Module, trees: Sequence[Tree], loss: SFTLoss, micro_tokens: int
) -> Iterator[Loss]:
    """The loss of one step's documents, in slices of at most `micro_tokens` that sum to it."""
    masks = [tree.trained[0] for tree in trees]
    mask = torch.zeros(len(masks), max(len(m) for m in masks), dtype=torch.bool)
    for row, flags in enumerate(masks):
        mask[row, : len(flags)] = torch.tensor(flags)
    weights = loss.weights(mask)
    device = next(model.parameters()).device
    for index in micro_batches([t.num_tokens for t in trees], micro_tokens):
        part = [trees[i] for i in index]
        scored = mask[torch.tensor(index)]
        logprobs, _, _ = score_trees(model, Forest.of(part, device))
        spread = torch.zeros(scored.shape).masked_scatter(scored, logprobs.cpu())
        yield Loss(
            loss.loss(spread, weights[torch.tensor(index)], scored),
            {
                "nll": -logprobs.detach().sum(),
                "trained": torch.tensor(float(len(logprobs))),
                "tokens": torch.tensor(float(sum(t.num_tokens for t in part))),
            },
        )
