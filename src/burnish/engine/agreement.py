"""Whether a model computes in training what it computed when the rollout was scored.

Before the first update every ratio of probabilities is 1 but for rounding. That is small on the
average and has long tails: in bfloat16 log-probabilities of SmolLM2's tokens are .05 nats apart in
the mean, and of some thousands of tokens one is .6. So what is judged is the mean of a whole step:
dropout or a wrong position moves nearly every token.
"""

import torch
from torch import Tensor

from burnish.errors import TrainingError

MOST = {torch.float32: 1e-3, torch.bfloat16: 0.2}
"""Nats a token, on average."""
MOST_TRUNCATED = 0.2
"""The same for truncated draws, in any format: rounding may also take a token at the edge of the
kept set in or out, which moves all that are kept."""


class Agreement:
    """Compares log-probabilities of a step's tokens, slice by slice."""

    def __init__(self, dtype: torch.dtype, *, truncated: bool) -> None:
        self._most = MOST_TRUNCATED if truncated else MOST[dtype]
        self.begin()

    def begin(self) -> None:
        """A new step."""
        self.largest = 0.0
        """Of |ratio - 1|."""
        self._sum, self._num = 0.0, 0

    def note(self, now: Tensor, then: Tensor) -> None:
        """Log-probabilities of the same tokens."""
        if not len(now):
            return
        moved = (now - then).double()
        self.largest = max(self.largest, float(torch.expm1(moved).abs().max()))
        self._sum, self._num = self._sum + float(moved.abs().sum()), self._num + len(moved)

    def check(self) -> None:
        """Before the first update.

        Raises:
            TrainingError: the tokens are further apart than rounding takes them.
        """
        mean = self._sum / max(self._num, 1)
        if not mean <= self._most:
            raise TrainingError(
                f"before the first update log-probabilities of {self._num} tokens are {mean:.3g} "
                f"nats away, on average, from what they were when the rollout was scored (at most "
                f"{self._most:g} is rounding): the model computes one thing in training and "
                "another in scoring (dropout, say)"
            )
