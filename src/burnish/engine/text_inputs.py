"""What a language model reads to score a rollout: the token ids of prompts and completions."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TextInputs:
    """Prompts and completions as token ids, and the width T of the batch they belong to.

    A trajectory of several turns is a prompt and one long completion, in which `sampled` tells the
    policy's own tokens from those that were written between its turns: only the former are scored.
    """

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[int, ...], ...]
    width: int
    sampled: tuple[tuple[bool, ...], ...] | None = None
    """Of each completion's tokens. None: all of them."""

    def rows(self, index: Int[Tensor, " N"]) -> "TextInputs":
        """The rows at `index`, at the same width."""
        chosen = index.tolist()
        return TextInputs(
            tuple(self.prompts[i] for i in chosen),
            tuple(self.completions[i] for i in chosen),
            self.width,
            None if self.sampled is None else tuple(self.sampled[i] for i in chosen),
        )

    def flags(self, row: int) -> tuple[bool, ...]:
        """Which of a row's tokens are scored."""
        return (True,) * len(self.completions[row]) if self.sampled is None else self.sampled[row]

    def decisions(self) -> "TextInputs":
        """Tokens depend on the tokens before them: there is no such thing."""
        raise TypeError("text has memory: plan.by_decision is for policies without")
