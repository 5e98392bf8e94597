"""A Learner for the small networks of classical control."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from burnish.algos.batch import Need, PolicyOutputs, RolloutBatch
from burnish.config import require
from burnish.engine.optim import MasterAdamW, Optim
from burnish.engine.protocols import Inputs, LossFunction, Metrics, Rollout
from burnish.errors import TrainingError
from burnish.models.mlp import ActorCritic


@dataclass(frozen=True, kw_only=True, slots=True)
class GymInputs:
    """What the networks read."""

    observations: Float[Tensor, "B T D"]
    actions: Int[Tensor, "B T"]
    next_observations: Float[Tensor, "B T D"] | None
    """Where each action led, an episode's last state included; None once values are known."""

    def rows(self, index: Int[Tensor, " N"]) -> Self:
        """The rows at `index`."""
        following = self.next_observations
        return replace(
            self,
            observations=self.observations[index],
            actions=self.actions[index],
            next_observations=None if following is None else following[index],
        )

    def decisions(self) -> Self:
        """One decision a row."""
        following = self.next_observations
        return replace(
            self,
            observations=self.observations.flatten(0, 1)[:, None],
            actions=self.actions.reshape(-1, 1),
            next_observations=None if following is None else following.flatten(0, 1)[:, None],
        )


class MLPLearner:
    """Trains an ActorCritic; one optimiser step never needs splitting."""

    def __init__(self, model: ActorCritic, optim: Optim, *, num_updates: int) -> None:
        """num_updates: optimiser steps of the whole run, for the schedule."""
        self._model = model
        self._optim = optim
        self._num_updates = num_updates
        self._adamw = MasterAdamW([("weights", model.weights)], optim)

    def annotate(self, rollout: Rollout, needs: frozenset[Need]) -> Rollout:
        """Values of both ends of each decision, and log-probabilities before the first update."""
        require("ref_logprobs" not in needs, "a control policy has no reference: set kl_coef to 0")
        inputs = _narrow(rollout.inputs)
        batch = rollout.batch
        scores = self._model.scores(inputs.observations, inputs.actions)
        if "old_logprobs" in needs:
            batch = replace(batch, old_logprobs=scores.logprobs)
        if "values" in needs:
            assert inputs.next_observations is not None
            following = self._model.values(inputs.next_observations)
            batch = replace(batch, values=scores.values, next_values=following)
        return replace(rollout, inputs=replace(inputs, next_observations=None), batch=batch)

    def step(self, inputs: Inputs, batch: RolloutBatch, loss: LossFunction) -> Metrics:
        """One optimiser step.

        Raises:
            TrainingError: the loss or its gradient is not finite; the weights stay as they were.
        """
        own = _narrow(inputs)
        scores = self._model.scores(own.observations, own.actions)
        said = (scores.logprobs, scores.entropy, scores.values)
        logprobs, entropy, values = (score.detach().requires_grad_() for score in said)
        outputs = PolicyOutputs(logprobs=logprobs, entropy=entropy, values=values)
        result = loss(batch, outputs)
        total = float(result.total.detach())
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at optimiser step {self._adamw.num_steps}; "
                "lower the learning rate, or scale the observations"
            )
        of_logprobs, of_entropy, of_values = torch.autograd.grad(
            result.total, (logprobs, entropy, values), allow_unused=True
        )
        self._model.backward(scores, logprobs=of_logprobs, entropy=of_entropy, values=of_values)
        lr = self._optim.lr_at(self._adamw.num_steps, self._num_updates)
        norm = self._adamw.step(lr)
        sums = {name: float(value) for name, value in result.sums.items()}
        decisions = max(sums.pop("decisions", 0.0), 1.0)
        old = scores.logprobs if batch.old_logprobs is None else batch.old_logprobs
        gap = torch.expm1(scores.logprobs - old).abs()
        return {
            "train/loss": total,
            "train/grad_norm": norm,
            "train/lr": lr,
            "rl/entropy": float(scores.entropy.mean()),
            "rl/ratio_gap": float(gap.max()),
            **{f"rl/{name}": value / decisions for name, value in sums.items()},
        }

    def snapshot(self) -> Mapping[str, Tensor]:
        """The weights as they are now: later steps do not change them."""
        return {k: v.clone() for k, v in self._model.state().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs: weights, optimiser moments and step count."""
        named = {f"model.{name}": tensor for name, tensor in self.snapshot().items()}
        return {**self._adamw.tensors(), **named}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` saved."""
        self._adamw.load(tensors)
        for name, tensor in self._model.state().items():
            tensor.copy_(tensors[f"model.{name}"])


def _narrow(inputs: Inputs) -> GymInputs:
    assert isinstance(inputs, GymInputs), "an MLP learner reads GymInputs"
    return inputs
