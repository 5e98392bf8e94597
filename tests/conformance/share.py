"""A rank's share of one optimiser step, and a reinforcement learner that computes no more."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss, PolicyAlgorithm, PolicyOutputs, RolloutBatch
from burnish.engine.protocols import Rollout
from tests.conformance.bigram import NUM_TOKENS, SIZE, Bigram
from tests.unit.algos.made import made_batch

WORLD = 2


@dataclass(frozen=True)
class Share:
    """Which rows of a step are one's own."""

    rank: int | None
    """None: all rows are."""
    late: bool = False
    """Weigh one's own rows as if they were the step, and average over ranks: the usual mistake."""

    def of(self, num: int) -> list[int]:
        """Unequal parts."""
        cut = num // 3
        return list({None: range(num), 0: range(cut), 1: range(cut, num)}[self.rank])

    @property
    def micro_tokens(self) -> int:
        """The whole in one slice; else every row in its own."""
        return 10_000 if self.rank is None else 1


def loss_and_gradients(parts: Iterable[Loss], modules: Sequence[nn.Module], share: Share) -> Tensor:
    parameters = [p for module in modules for p in module.parameters()]
    total = sum((part.total for part in parts), torch.zeros(()))
    gradients = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    row = torch.cat([total.detach()[None], *(g.flatten() for g in gradients)])
    return row / WORLD if share.late else row


def value_head() -> nn.Linear:
    head = nn.Linear(SIZE, 1)
    nn.init.constant_(head.weight, 0.3)
    nn.init.constant_(head.bias, 0.1)
    return head


@dataclass(frozen=True)
class Tokens:
    """What a policy reads: the token before each decision, and the ones decided on."""

    ids: Tensor

    def rows(self, index: Tensor) -> "Tokens":
        return Tokens(self.ids[index])

    def decisions(self) -> "Tokens":
        raise NotImplementedError


class FixedRollout:
    """A collector of one rollout, whose samplers and old policy are a little off."""

    def collect(self, step: int) -> Rollout:
        lengths = (3, 1, 5, 4, 0, 2, 1, 4, 2, 2)
        batch = made_batch(lengths, seed=2)
        scores = batch.scores.clone()
        scores[:2] = 0.7  # a group without signal
        last = torch.arange(5) == torch.tensor(lengths)[:, None] - 1
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(NUM_TOKENS, (len(lengths), 6), generator=generator)
        noise = 0.3 * torch.randn(batch.mask.shape, generator=generator)
        batch = replace(
            batch,
            scores=scores,
            rewards=torch.where(last, scores[:, None], 0.0),
            sampler_logprobs=batch.sampler_logprobs + noise,
        )
        return Rollout(inputs=Tokens(ids), batch=batch)

    def sync(self, learner: Any, step: int) -> None:
        """There is but one rollout."""


class ShareLearner:
    """Computes its share of an optimiser step; it does not move."""

    def __init__(self, algorithm: PolicyAlgorithm, share: Share) -> None:
        self.algorithm, self.share = algorithm, share
        self.model, self.head = Bigram(0), value_head()
        self.found: Tensor | None = None

    def annotate(self, rollout: Rollout, needs: frozenset[str]) -> Rollout:
        return rollout

    def step(self, inputs: Tokens, batch: RolloutBatch, loss: Callable[..., Loss]) -> dict:
        own = torch.tensor(self.share.of(len(batch.mask)))
        part, ids = batch.rows(own), inputs.rows(own).ids
        if self.share.late:
            part = self.algorithm.weights(part)
        read = self.model(ids, labels=ids)
        outputs = PolicyOutputs(
            logprobs=read.log_probs,
            entropy=read.entropy,
            values=self.head(self.model.embedding[ids[:, :-1]])[..., 0],
        )
        parts = [loss(part, outputs)]
        self.found = loss_and_gradients(parts, (self.model, self.head), self.share)
        return {}

    def snapshot(self) -> Mapping[str, Tensor]:
        return {}
