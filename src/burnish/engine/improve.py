"""The whole of reinforcement learning, for tokens and for carts: collect, annotate, improve."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from burnish import rng
from burnish.algos.batch import PolicyAlgorithm, RolloutBatch, clean, require_tensor
from burnish.config import require
from burnish.engine.protocols import Collector, Learner, Metrics, Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How many rollouts, and how each is used."""

    steps: int
    """Rollouts, each followed by its updates."""
    epochs: int = 1
    """Passes over each rollout."""
    minibatches: int = 1
    """Optimiser steps a pass."""
    by_decision: bool = False
    """Shuffle single decisions rather than whole rows: for policies without memory."""
    importance_cap: float = 0.0
    """Weigh each decision by min(learner / sampler probability, this); 0: as if they agreed."""

    def __post_init__(self) -> None:
        require(self.importance_cap >= 0, "importance_cap must be at least 0")
        for name in ("steps", "epochs", "minibatches"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1")


Observe = Callable[[int, Rollout, list[Metrics], PolicyAlgorithm], None]


def improve(
    collector: Collector,
    learner: Learner,
    algorithm: PolicyAlgorithm,
    plan: Plan,
    *,
    seed: int,
    observe: Observe,
    start: int = 0,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Collect -> annotate -> advantages -> optimiser steps -> sync, `plan.steps` times.

    `observe(step, rollout, metrics of each optimiser step, algorithm of the next rollout)` logs and
    checkpoints after each. `enough()` ends it before all steps are done; there is always one.
    """
    needs = algorithm.needs()
    if plan.epochs * plan.minibatches > 1 or plan.importance_cap:
        needs |= {"old_logprobs"}
    for step in range(start, plan.steps):
        if step and enough():
            return
        rollout = collector.collect(step)
        rollout = learner.annotate(rollout, needs)
        batch = weighed(rollout.batch, plan.importance_cap)
        rollout = replace(rollout, batch=algorithm.advantages(batch))
        used = rollout
        if plan.by_decision:
            used = replace(
                rollout, inputs=rollout.inputs.decisions(), batch=rollout.batch.decisions()
            )
        taken: list[Metrics] = []
        for rows in _updates(plan, used.batch.mask, seed, step):
            batch = algorithm.weights(used.batch.rows(rows))
            inert = algorithm.inert(batch)
            if bool(inert.any()):
                active = (~inert).nonzero()[:, 0]
                rows, batch = rows[active], batch.rows(active)
            taken.append(learner.step(used.inputs.rows(rows), batch, algorithm.loss))
        collector.sync(learner, step + 1)
        algorithm = algorithm.after(rollout.batch)
        observe(step, rollout, taken, algorithm)


def weighed(batch: RolloutBatch, cap: float) -> RolloutBatch:
    """With truncated importance weights min(exp(old - sampler), cap), constants of the rollout."""
    if not cap:
        return batch
    old = clean(require_tensor(batch.old_logprobs, "old_logprobs"), batch.mask)
    ratio = torch.exp(old - clean(batch.sampler_logprobs, batch.mask))
    return replace(batch, importance=ratio.clamp(max=cap))


def _updates(plan: Plan, mask: Tensor, seed: int, step: int) -> Iterator[Tensor]:
    """Row indices of each optimiser step; rows without any decision are left out."""
    usable = mask.any(dim=1).nonzero()[:, 0].cpu().numpy()
    for epoch in range(plan.epochs):
        shuffled = usable
        if plan.minibatches > 1:
            shuffled = rng.stream(seed, "minibatch", step, epoch).permutation(usable)
        for part in np.array_split(shuffled, plan.minibatches):
            if len(part):
                yield torch.from_numpy(part).to(mask.device)
