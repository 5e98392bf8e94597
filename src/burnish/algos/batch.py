"""The one layout that tokens and pushes of a cart share: rows of decisions, `[B, T]`.

Index t means decision t: `logprobs[b, t]` scores the action taken at t. `mask` is True where the
policy chose the action and is trained on it. Masked cells may hold anything, NaN included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

Need = Literal["old_logprobs", "ref_logprobs", "values"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutBatch:
    """What was decided and what came of it. Frozen: stages of the computation replace it."""

    mask: Bool[Tensor, "B T"]
    """The policy chose this action and is trained on it."""
    rewards: Float[Tensor, "B T"]
    """Reward that followed decision t."""
    scores: Float[Tensor, " B"]
    """The row's score before penalties; not finite: it could not be scored."""
    group: Int[Tensor, " B"]
    """Rows of one group answer one problem."""
    terminated: Bool[Tensor, "B T"]
    """The episode ended at t by the task's own rule: nothing follows."""
    truncated: Bool[Tensor, "B T"]
    """The episode was cut at t by a limit outside the task: `next_values` bootstraps it."""
    sampler_logprobs: Float[Tensor, "B T"]
    """Of the distribution that was sampled from, by the engine that sampled."""
    old_logprobs: Float[Tensor, "B T"] | None = None
    """The learner's, before the first update on this rollout. None: a single update, ratio 1."""
    ref_logprobs: Float[Tensor, "B T"] | None = None
    values: Float[Tensor, "B T"] | None = None
    next_values: Float[Tensor, "B T"] | None = None
    """Value of the state that follows decision t."""
    advantages: Float[Tensor, "B T"] | None = None
    returns: Float[Tensor, "B T"] | None = None
    weights: Float[Tensor, "B T"] | None = None
    """Weight of each decision in one whole optimiser step: losses only ever sum over it."""
    importance: Float[Tensor, "B T"] | None = None
    """Truncated importance weight of each decision, learner over sampler; a constant. None: 1."""

    @classmethod
    def of_completions(
        cls,
        *,
        mask: Bool[Tensor, "B T"],
        scores: Float[Tensor, " B"],
        group: Int[Tensor, " B"],
        sampler_logprobs: Float[Tensor, "B T"],
        turn_rewards: Float[Tensor, "B T"] | None = None,
    ) -> "RolloutBatch":
        """One completion a row, whose score follows its last decision. Rows that could not be
        scored have no decisions.

        `turn_rewards` follow decisions on the way and are parts of the score: what is left of it
        follows the last decision.
        """
        scored = torch.isfinite(scores)
        mask = mask & scored[:, None]
        places = torch.arange(mask.shape[1], device=mask.device)
        turns = torch.zeros_like(sampler_logprobs) if turn_rewards is None else turn_rewards
        turns = torch.where(mask, turns, torch.zeros_like(turns))
        rest = torch.where(scored, scores, torch.zeros_like(scores)) - turns.sum(dim=1)
        last = mask & (places == torch.where(mask, places, -1).amax(dim=1, keepdim=True))
        return cls(
            mask=mask,
            rewards=torch.where(last, turns + rest[:, None], turns),
            scores=scores,
            group=group,
            terminated=last,
            truncated=torch.zeros_like(mask),
            sampler_logprobs=sampler_logprobs,
        )

    def rows(self, index: Int[Tensor, " N"]) -> "RolloutBatch":
        """The rows at `index`, in that order."""
        return replace(self, **{k: v[index] for k, v in self._tensors().items()})

    def decisions(self) -> "RolloutBatch":
        """One decision a row, `[B*T, 1]`, for policies that have no memory."""
        num_decisions = self.mask.shape[1]
        flat = {
            k: v.reshape(-1, 1) if v.dim() == 2 else v.repeat_interleave(num_decisions)
            for k, v in self._tensors().items()
        }
        return replace(self, **flat)

    def _tensors(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in values.items() if v is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyOutputs:
    """What a policy says now about the decisions of a batch."""

    logprobs: Float[Tensor, "B T"]
    entropy: Float[Tensor, "B T"] | None = None
    values: Float[Tensor, "B T"] | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over a slice, and sums for the log: slices of one optimiser step add up."""

    total: Float[Tensor, ""]
    sums: Mapping[str, Real[Tensor, ""]] = field(default_factory=dict)


class PolicyAlgorithm(Protocol):
    """What the RL loop asks of an algorithm. Implementations are frozen dataclasses."""

    @property
    def kl_coef(self) -> float:
        """Price of a nat of KL to the reference, which may adapt from rollout to rollout."""

    def needs(self) -> frozenset[Need]:
        """What the learner must compute before `advantages`."""

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        """Once per rollout: advantages, and returns where values are learnt."""

    def weights(self, step: RolloutBatch) -> RolloutBatch:
        """Once per optimiser step, before anything is split."""

    def inert(self, batch: RolloutBatch) -> Bool[Tensor, " B"]:
        """Rows whose every term of the loss is exactly zero, so that they need not be computed."""

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        """The loss of any slice of an optimiser step: a weighted sum."""

    def after(self, batch: RolloutBatch) -> "PolicyAlgorithm":
        """The algorithm for the rollouts that follow `batch`: where a coefficient adapts."""

    def with_kl_coef(self, kl_coef: float) -> "PolicyAlgorithm":
        """The same at another price, as a resume finds it."""


def clean(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """`values` with masked cells set to zero, in value and in gradient, whatever they hold."""
    return torch.where(mask, values, torch.zeros_like(values))


def require_tensor(value: Tensor | None, name: str) -> Tensor:
    """Narrow an optional field; absence is a wiring mistake of ours."""
    assert value is not None, f"{name} was not computed before it was needed"
    return value
