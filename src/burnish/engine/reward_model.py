"""A trained reward model at work: scores token ids, normalised on reference completions.

The score is read at the end-of-turn token, which is appended to a completion that was cut: in
training every completion ended with it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from burnish.models.load import Precision, open_causal_lm, open_head
from burnish.models.policy import Forest, Tree, last_hidden, micro_batches, share_prompts
from burnish.text.chat import turn_end
from burnish.text.tokenizer import load_tokenizer

SCALE_FILE = "scale.json"


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation of raw scores on reference completions."""

    mean: float = 0.0
    std: float = 1.0


def branch_scores(
    model: nn.Module, head: nn.Module, trees: Sequence[Tree]
) -> Float[Tensor, " branches"]:
    """The head's value at each branch's last token, in float32."""
    forest = Forest.of(trees, next(model.parameters()).device)
    return head(last_hidden(model, forest).float())[:, 0]  # type: ignore[no-any-return]


class RewardModel:
    """Opened from a TrainReward stage's output."""

    def __init__(self, path: Path, *, precision: Precision, micro_tokens: int) -> None:
        self._model = open_causal_lm(path, precision)
        self._head = open_head(path)
        scale = path / SCALE_FILE
        self._scale = Scale(**json.loads(scale.read_text())) if scale.is_file() else Scale()
        self._micro_tokens = micro_tokens
        self._turn_end = turn_end(load_tokenizer(path))
        self.scored_tokens = 0

    @torch.no_grad()
    def scores(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> list[float]:
        """One normalised score for each completion."""
        ended = [
            tuple(c) if c and c[-1] == self._turn_end else (*c, self._turn_end) for c in completions
        ]
        shared = share_prompts([tuple(p) for p in prompts], ended, self._micro_tokens)
        out = torch.zeros(len(ended))
        for index in micro_batches([t.num_tokens for t, _ in shared], self._micro_tokens):
            trees = [shared[i][0] for i in index]
            rows = torch.tensor([row for i in index for row in shared[i][1]])
            out[rows] = branch_scores(self._model, self._head, trees).cpu()
            self.scored_tokens += sum(tree.num_tokens for tree in trees)
        return ((out - self._scale.mean) / self._scale.std).tolist()


def save_scale(path: Path, scale: Scale) -> None:
    """Write the normalisation beside a reward model."""
    (path / SCALE_FILE).write_text(json.dumps({"mean": scale.mean, "std": scale.std}))
