"""Evaluation: every model on the same held-out problems, with the same prompts and decoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn

from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems, write_rows
from burnish.engine.reward_model import RewardModel
from burnish.engine.text_model import TextModel
from burnish.models.load import Precision, open_causal_lm
from burnish.models.policy import Forest, Tree, micro_batches, score_trees
from burnish.pipeline.artifact import ModelRef, ProblemsRef, RewardModelRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import Draws, sample_problems
from burnish.types import Finish
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Models + problems -> scores, one row a model and problem."""

    outputs: ClassVar[Mapping[str, str]] = {"scores": "scores"}

    models: dict[str, ModelRef]
    """Under the names that the report uses."""
    problems: tuple[ProblemsRef, ...]
    draws: Draws
    num_problems: int | None = None
    """Of each set, the first so many; none: all."""
    reward_model: RewardModelRef | None = None
    """Adds the learnt reward to each row."""
    reference: ModelRef | None = None
    """Adds each completion's summed log ratio to this model: its mean over samples at temperature 1
    estimates KL(model || reference)."""
    max_rows: int = 96
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows", "micro_tokens")
        require(bool(self.models), "models must name at least one model")

    def work(self) -> Work:
        rows = len(self.models) * len(self.problems) * (self.num_problems or 200)
        tokens = 0.6 * rows * self.draws.max_new_tokens
        passes = 2 * (self.reference is not None) + (self.reward_model is not None)
        scored = passes * (tokens + 50 * rows)
        return Work(sampled_tokens=tokens, scored_tokens=scored, seconds=3 * len(self.models))

    def scaled(self, factor: float) -> Self:
        """Held-out problems are not cut: fewer of them would widen every interval."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = [
            problem
            for ref in self.problems
            for problem in read_problems(ctx.input(ref))[: self.num_problems]
        ]
        rows: list[dict[str, Any]] = []
        items: list[Sampled] = []
        sampled_tokens = scored_tokens = 0
        for name, ref in self.models.items():
            text = TextModel.open(ctx.input(ref), self.precision)
            sampled, num_tokens = sample_problems(
                ctx, text, problems, self.draws, num=1, max_rows=self.max_rows
            )
            sampled_tokens += num_tokens
            kls: Sequence[float | None] = [None] * len(sampled)
            if self.reference is not None:
                other = open_causal_lm(ctx.input(self.reference), self.precision)
                kls = log_ratios(
                    text.model, other, sampled, self.micro_tokens, self.draws.temperature or 1.0
                )
                scored_tokens += 2 * sum(len(s.prompt_ids) + len(s.tokens) for s in sampled)
            rows += [
                score_row(name, s) | ({} if kl is None else {"kl": kl})
                for s, kl in zip(sampled, kls, strict=True)
            ]
            items += sampled
            del text
        if self.reward_model is not None:
            scored_tokens += self._add_proxy(ctx, rows, items)
        cut = sum(row["finish"] == Finish.LENGTH.value for row in rows)
        ctx.count(f"completions cut at {self.draws.max_new_tokens} tokens", cut, len(rows))
        write_rows(ctx.output("scores"), rows)
        ctx.spend(sampled_tokens=sampled_tokens, scored_tokens=scored_tokens)
        ctx.write_samples(rows[:: max(len(rows) // 24, 1)])

    def _add_proxy(
        self, ctx: Context, rows: Sequence[dict[str, Any]], items: Sequence[Sampled]
    ) -> int:
        assert self.reward_model is not None
        model = RewardModel(
            ctx.input(self.reward_model), precision=self.precision, micro_tokens=self.micro_tokens
        )
        scores = model.scores([s.prompt_ids for s in items], [s.tokens for s in items])
        for row, score in zip(rows, scores, strict=True):
            row["proxy"] = score
        return model.scored_tokens


@torch.no_grad()
def log_ratios(
    model: nn.Module,
    reference: nn.Module,
    sampled: Sequence[Sampled],
    micro_tokens: int,
    temperature: float,
) -> list[float]:
    """Summed log pi - log ref of each completion, both by the learner's own scoring."""
    trees = [Tree.prompt(s.prompt_ids, [s.tokens]) for s in sampled]
    out = [0.0] * len(trees)
    for index in micro_batches([t.num_tokens for t in trees], micro_tokens):
        forest = Forest.of([trees[i] for i in index], next(model.parameters()).device)
        policy, _, _ = score_trees(model, forest, temperature=temperature)
        ref, _, _ = score_trees(reference, forest, temperature=temperature)
        sizes = [len(trees[i].branches[0]) for i in index]
        parts = torch.split(policy - ref, sizes)
        for i, part in zip(index, parts, strict=True):
            out[i] = float(part.sum())
    return out


def score_row(model: str, item: Sampled) -> dict[str, Any]:
    """What an evaluation says of one completion: a row of scores.jsonl."""
    verdict = verify_problem(item.problem, item.text)
    return {
        "model": model,
        "task": item.problem.task,
        "problem": item.problem.id,
        "prompt": item.problem.prompt.last_user,
        "completion": item.text,
        "score": verdict.score,
        "passed": verdict.passed,
        "tokens": len(item.tokens),
        "finish": item.finish.value,
    }
