"""How far tuning moved a model's choices: ranks of its tokens under the model it started from.

URIAL (Lin et al. 2023, 2312.01552): the tuned model answers greedily; at each position
of its answer, with the answer so far as context, the start ranks the token that was chosen. Rank 1
is unshifted (the start would have chosen it too), 2 or 3 marginal, and beyond that shifted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems
from burnish.engine.text_model import TextModel
from burnish.evals.shift import kind_of
from burnish.models.load import Precision, open_causal_lm
from burnish.models.policy import Forest, head_weight, micro_batches, predicting, share_prompts
from burnish.models.token_scores import CHUNK, head_logits
from burnish.pipeline.artifact import ModelRef, ProblemsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws, sample_problems
from burnish.stages.study import write_curves
from burnish.text.vocabulary import require_same_vocabulary


@dataclass(frozen=True, kw_only=True)
class TokenShift:
    """Tuned models + their start + problems -> the rank of each of their tokens under the start."""

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves"}

    start: ModelRef
    models: dict[str, ModelRef]
    """Under the names that the report uses."""
    problems: ProblemsRef
    max_new_tokens: int
    num_problems: int = 100
    max_rows: int = 192
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        counts = ("max_new_tokens", "num_problems", "max_rows", "micro_tokens")
        require_counts(self, *counts)
        require(bool(self.models), "models must name at least one model")

    def work(self) -> Work:
        rows = len(self.models) * self.num_problems
        sampled = USUAL_SHARE * rows * self.max_new_tokens
        return Work(
            sampled_tokens=sampled, scored_tokens=sampled + 2 * rows * PROMPT_TOKENS, seconds=6
        )

    def scaled(self, factor: float) -> Self:
        """Held-out measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        start = open_causal_lm(ctx.input(self.start), self.precision, ctx.device)
        greedy = Draws(max_new_tokens=self.max_new_tokens, temperature=0)
        rows: list[dict[str, Any]] = []
        sampled_tokens = scored = 0
        for name, ref in self.models.items():
            require_same_vocabulary(ctx.input(ref), ctx.input(self.start))
            text = TextModel.open(ctx.input(ref), self.precision, ctx.device)
            answers, tokens = sample_problems(
                ctx, text, problems, greedy, num=1, max_rows=self.max_rows
            )
            ranks = token_ranks(start, answers, self.micro_tokens)
            rows += [
                {
                    "model": name,
                    "problem": answer.problem.id,
                    "ranks": of_answer,
                    "tokens": [text.tokenizer.decode([t]) for t in answer.tokens],
                }
                for answer, of_answer in zip(answers, ranks, strict=True)
            ]
            sampled_tokens += tokens
            scored += sum(len(a.prompt_ids) + len(a.tokens) for a in answers)
        write_curves(ctx.output("curves"), rows)
        ctx.spend(sampled_tokens=sampled_tokens, scored_tokens=scored)
        ctx.write_samples(
            {"model": row["model"], "completion": _marked(row["tokens"], row["ranks"])}
            for row in rows[:: max(len(rows) // 24, 1)]
        )


@torch.no_grad()
def token_ranks(model: nn.Module, items: Sequence[Sampled], micro_tokens: int) -> list[list[int]]:
    """1 + how many tokens the model holds likelier, for each token of each completion."""
    shared = share_prompts([s.prompt_ids for s in items], [s.tokens for s in items], micro_tokens)
    out: list[list[int]] = [[] for _ in items]
    weight = head_weight(model)
    for index in micro_batches([t.num_tokens for t, _ in shared], micro_tokens):
        forest = Forest.of([shared[i][0] for i in index], weight.device)
        hidden = predicting(model, forest)
        parts = zip(torch.split(hidden, CHUNK), torch.split(forest.targets, CHUNK), strict=True)
        ranks = torch.cat([ranks_of(head_logits(h, weight), t) for h, t in parts]).tolist()
        for row in (r for i in index for r in shared[i][1]):
            size = len(items[row].tokens)
            out[row], ranks = ranks[:size], ranks[size:]
    return out


def ranks_of(logits: Tensor, targets: Tensor) -> Tensor:
    """1 + the number of logits above the target's; what ties with it is not above."""
    own = logits.gather(-1, targets[:, None])
    return 1 + (logits > own).sum(-1)


def _marked(tokens: Sequence[str], ranks: Sequence[int]) -> str:
    """An answer with its shifted tokens in brackets, and their ranks."""
    return "".join(
        f"[{token}|{rank}]" if kind_of(rank) == "shifted" else token
        for token, rank in zip(tokens, ranks, strict=True)
    )
