"""The seams: Sampler, Learner, Collector. Local ones now; a cluster's fit the same shapes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from jaxtyping import Int
from torch import Tensor

from burnish.algos.batch import Loss, Need, PolicyOutputs, RolloutBatch
from burnish.types import Completion

Metrics = Mapping[str, float]
LossFunction = Callable[[RolloutBatch, PolicyOutputs], Loss]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """`num` completions of one prompt; completion i draws from the stream (key, i)."""

    prompt: tuple[int, ...]
    key: int
    num: int = 1
    max_new_tokens: int | None = None
    """Where this prompt's limit is lower than that of all."""

    def limit(self, sampling: "Sampling") -> int:
        """The most tokens that a completion may have."""
        own = self.max_new_tokens
        return sampling.max_new_tokens if own is None else min(own, sampling.max_new_tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to sample. Temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with at least this probability."""
    min_p: float = 0.0
    """Keep tokens at least this many times as likely as the likeliest."""
    stop_ids: frozenset[int] = frozenset()


class Inputs(Protocol):
    """What a policy reads to score a rollout's actions; only its learner looks inside."""

    def rows(self, index: Int[Tensor, " N"]) -> Self:
        """The rows at `index`."""

    def decisions(self) -> Self:
        """One decision a row; only for policies without memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """What a collector brings back: inputs for the learner, the batch for the algorithm."""

    inputs: Inputs
    batch: RolloutBatch
    metrics: Metrics = field(default_factory=dict)


class Sampler(Protocol):
    """Completions of prompts."""

    @property
    def version(self) -> int:
        """Of the weights in use; every Completion carries it."""

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """`num` completions for each request, in order."""

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Replace the weights."""


class Learner(Protocol):
    """A policy that is being trained."""

    def annotate(self, rollout: Rollout, needs: frozenset[Need]) -> Rollout:
        """Fill the needs, with the weights as they are before the rollout's first update."""

    def step(self, inputs: Inputs, batch: RolloutBatch, loss: LossFunction) -> Metrics:
        """One optimiser step on a weighted batch, split as memory wants."""

    def snapshot(self) -> Mapping[str, Tensor]:
        """The weights, for samplers."""


class Collector(Protocol):
    """Domain code: acts with the current policy and brings back a rollout."""

    def collect(self, step: int) -> Rollout:
        """The rollout of one step of the loop."""

    def sync(self, learner: Learner, step: int) -> None:
        """Take over the learner's weights."""
