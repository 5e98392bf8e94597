"""How a reward model's head is read: at which tokens of a completion, and what score follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from burnish.algos.process_reward import Aggregate, solution_score
from burnish.config import require
from burnish.text.steps import step_ends


class Reading(Protocol):
    """Frozen dataclasses, written beside the weights."""

    def flags(self, ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[bool]:
        """Which tokens of a completion, its end token included, are read."""

    def score(self, outputs: Float[Tensor, "read K"]) -> Float[Tensor, ""]:
        """A completion's score from the head's outputs there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The head's value at the last token: Bradley-Terry."""

    def flags(self, ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[bool]:
        del tokenizer
        return last_only(ids)

    def score(self, outputs: Float[Tensor, "read K"]) -> Float[Tensor, ""]:
        return outputs[-1, 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The probability at the last token that the completion is right."""

    def flags(self, ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[bool]:
        del tokenizer
        return last_only(ids)

    def score(self, outputs: Float[Tensor, "read K"]) -> Float[Tensor, ""]:
        return torch.sigmoid(outputs[-1, 0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """The probabilities at the ends of steps that each is right, made into one."""

    separator: str = "\n"
    """What stands between steps."""
    aggregate: Aggregate = "min"
    """min is the weakest step, product that all are right, last the last one."""

    def __post_init__(self) -> None:
        require(bool(self.separator), "separator must not be empty")

    def flags(self, ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[bool]:
        ends = set(step_ends(ids, tokenizer, self.separator))
        return [i in ends for i in range(len(ids))]

    def score(self, outputs: Float[Tensor, "read K"]) -> Float[Tensor, ""]:
        return solution_score(outputs[:, 0], self.aggregate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributes:
    """A weighted sum of the attributes predicted at the last token."""

    weights: dict[str, float]
    """Of each attribute, in the order of the head's outputs."""

    def flags(self, ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[bool]:
        del tokenizer
        return last_only(ids)

    def score(self, outputs: Float[Tensor, "read K"]) -> Float[Tensor, ""]:
        return outputs[-1] @ outputs.new_tensor(list(self.weights.values()))


def last_only(ids: Sequence[int]) -> list[bool]:
    """Only the last token is read."""
    return [i == len(ids) - 1 for i in range(len(ids))]
