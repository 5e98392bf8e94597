"""What becomes of a completion's score before it is trained on, for how the completion ended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from burnish.algos.dapo import overlong_reward
from burnish.config import require
from burnish.types import Completion, Finish


@dataclass(frozen=True, kw_only=True, slots=True)
class Shaping:
    """Nothing, by default. What is added or masked is logged beside the score."""

    missing_eos_penalty: float = 0.0
    """Taken from the score of a completion that was cut by the limit (2403.17031 has 1)."""
    cut_score: float | None = None
    """What a completion that was cut scores in place of its own (Tulu 3, 2411.15124: -10)."""
    overlong_buffer: int = 0
    """The last so many tokens before the limit cost linearly up to 1 (DAPO, 2503.14476, eq. 13); 0:
    none."""
    mask_truncated: bool = False
    """Completions that were cut are not trained on, and left out of their group's baseline."""

    def __post_init__(self) -> None:
        require(self.missing_eos_penalty >= 0, "missing_eos_penalty must be at least 0")
        require(self.cut_score is None or math.isfinite(self.cut_score), "cut_score must be finite")
        require(self.overlong_buffer >= 0, "overlong_buffer must be at least 0")

    def shaped(
        self, score: float | None, completion: Completion, max_new_tokens: int
    ) -> float | None:
        """The score to train on; None: not to be trained on."""
        cut = completion.finish is Finish.LENGTH
        return self.shaped_turns(score, cut, (len(completion.tokens),), max_new_tokens)

    def shaped_turns(
        self, score: float | None, cut: bool, turn_tokens: Sequence[int], max_new_tokens: int
    ) -> float | None:
        """The same for an episode of several turns, cut by any limit; of overlong turns the longest
        counts."""
        if score is None or (cut and self.mask_truncated):
            return None
        if cut and self.cut_score is not None:
            score = self.cut_score
        if cut:
            score -= self.missing_eos_penalty
        if self.overlong_buffer:
            score += overlong_reward(
                max(turn_tokens), max_tokens=max_new_tokens, buffer=self.overlong_buffer
            )
        return score
