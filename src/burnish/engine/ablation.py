"""Control experiments: an algorithm with the part that should matter taken out."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from burnish.algos.batch import Loss, Need, PolicyAlgorithm, PolicyOutputs, RolloutBatch


@dataclass(frozen=True, slots=True)
class ZeroAdvantages:
    """An algorithm whose advantages are thrown away: what it scores is owed to chance."""

    inner: PolicyAlgorithm

    @property
    def kl_coef(self) -> float:
        return self.inner.kl_coef

    def needs(self) -> frozenset[Need]:
        return self.inner.needs()

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        return replace(self.inner.advantages(batch), advantages=torch.zeros_like(batch.rewards))

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        return self.inner.weights(step)

    def inert(self, batch: RolloutBatch) -> Bool[Tensor, " B"]:
        return self.inner.inert(batch)

    def after(self, batch: RolloutBatch) -> "ZeroAdvantages":
        return ZeroAdvantages(self.inner.after(batch))

    def with_kl_coef(self, kl_coef: float) -> "ZeroAdvantages":
        return ZeroAdvantages(self.inner.with_kl_coef(kl_coef))

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        return self.inner.loss(part, new)
