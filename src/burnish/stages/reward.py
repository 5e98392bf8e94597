"""Reward models from comparisons (Bradley-Terry), with the baselines that give accuracy meaning."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import nn

from burnish import rng
from burnish.algos.batch import Loss
from burnish.algos.bradley_terry import bradley_terry_losses, pair_accuracy
from burnish.config import require, require_counts
from burnish.data.splits import split
from burnish.data.store import read_problems, write_rows
from burnish.engine.optim import Optim
from burnish.engine.reward_model import Scale, branch_scores, save_scale
from burnish.engine.supervised import Passes, fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.evals.bag_of_words import BagOfWords
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.models.policy import micro_batches
from burnish.pipeline.artifact import ModelRef, PreferencesRef, ProblemsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.preferences import (
    TOKENS_PER_PROMPT,
    Preferences,
    num_pairs,
    read_groups,
    sides,
)
from burnish.types import PreferencePair, Problem, mean
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class TrainReward:
    """Model + comparisons -> reward model, scored on held-out prompts."""

    outputs: ClassVar[Mapping[str, str]] = {"reward_model": "reward_model", "quality": "scores"}

    model: ModelRef
    """What it starts from: the backbone keeps its weights, the scalar head is fresh."""
    comparisons: PreferencesRef
    """Or preference pairs."""
    passes: Passes
    optim: Optim
    heldout: float = 0.2
    """Share of the prompts kept for measuring; pairs of one prompt never straddle."""
    center_coef: float = 0.01
    """Pulls scores towards zero (2312.09244)."""
    problems: ProblemsRef | None = None
    """Where the gold reward of a held-out prompt is looked up."""
    max_tokens: int = 1024
    """Longer pairs, prompt and both answers together, are dropped and counted."""
    micro_tokens: int = 2048
    lora: LoRA | None = None
    precision: Precision = "bfloat16"
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        require_counts(self, "max_tokens", "micro_tokens")
        require(0 < self.heldout < 1, "heldout must be in (0, 1)")
        require(self.center_coef >= 0, "center_coef must be at least 0")

    def work(self) -> Work:
        rows = (self.passes.max_steps or 50) * self.passes.batch_rows
        tokens = rows * TOKENS_PER_PROMPT
        once = tokens / max(self.passes.epochs, 1)
        return Work(trained_tokens=tokens, scored_tokens=once, seconds=4)

    def scaled(self, factor: float) -> Self:
        return replace(self, passes=self.passes.scaled(factor))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, lora=self.lora, seed=ctx.seed)
        groups = read_groups(ctx, text, ctx.input(self.comparisons), self.max_tokens)
        train, held = split(groups, key=lambda g: g.key, heldout=self.heldout, seed=ctx.seed)
        ctx.count("pairs held out", num_pairs(held), num_pairs(groups))
        head = fresh_head(text.model, ctx.seed)
        num_steps = self.passes.num_steps(len(train))
        trainer = Trainer(text.model, self.optim, num_steps=num_steps, head=head)
        totals = fit(
            ctx,
            trainer,
            self.passes,
            num_rows=len(train),
            checkpoint_s=self.checkpoint_s,
            losses=lambda step, rows: self._losses(text.model, head, [train[i] for i in rows]),
            metrics=_metrics,
        )
        flat = score_answers(text.model, head, train, self.micro_tokens)
        spread = torch.tensor([score for row in flat for score in row]).std().item()
        out = ctx.output("reward_model")
        text.save(out, head=head)
        average = mean([score for row in flat for score in row])
        save_scale(out, Scale(mean=average, std=max(spread, 1e-6)))
        held_scores = score_answers(text.model, head, held, self.micro_tokens)
        accuracy = self._quality(ctx, train, held, held_scores)
        scored = sum(g.tree.num_tokens for g in groups)
        ctx.spend(trained_tokens=totals["tokens"], scored_tokens=scored)
        ctx.metrics.write(num_steps, {"reward/heldout_accuracy": accuracy})

    def _losses(
        self, model: nn.Module, head: nn.Module, groups: Sequence[Preferences]
    ) -> Iterator[Loss]:
        for index in micro_batches([g.tree.num_tokens for g in groups], self.micro_tokens):
            part = [groups[i] for i in index]
            scores = branch_scores(model, head, [g.tree for g in part])
            better, worse = (side.to(scores.device) for side in sides(part))
            chosen, rejected = scores[better], scores[worse]
            losses = bradley_terry_losses(chosen, rejected, center_coef=self.center_coef)
            with torch.no_grad():
                sums = {
                    "accuracy": pair_accuracy(chosen, rejected).sum(),
                    "margin": (chosen - rejected).sum(),
                    "pairs": torch.tensor(float(num_pairs(part))),
                    "tokens": torch.tensor(float(sum(g.tree.num_tokens for g in part))),
                }
            yield Loss(losses.sum() / num_pairs(groups), sums)

    def _quality(
        self,
        ctx: Context,
        train: Sequence[Preferences],
        held: Sequence[Preferences],
        scores: Sequence[Sequence[float]],
    ) -> float:
        """Write a row for each held-out pair; returns the accuracy over them."""
        bag = BagOfWords([(p.chosen, p.rejected) for group in train for p in group.pairs])
        known = {} if self.problems is None else _by_prompt(read_problems(ctx.input(self.problems)))
        rows: list[dict[str, Any]] = []
        for group, row in zip(held, scores, strict=True):
            sided = zip(group.pairs, group.chosen, group.rejected, strict=True)
            for pair, better, worse in sided:
                length_gap = len(pair.chosen) - len(pair.rejected)
                problem = known.get(pair.prompt.id)
                rows.append(
                    {
                        "prompt": pair.prompt.last_user,
                        "chosen": pair.chosen,
                        "rejected": pair.rejected,
                        "chosen_score": row[better],
                        "rejected_score": row[worse],
                        "shorter": _wins(-length_gap),
                        "bag_of_words": _wins(bag.score(pair.chosen) - bag.score(pair.rejected)),
                        "length_gap": length_gap,
                        "gold_gap": None if problem is None else _gold_gap(problem, pair),
                    }
                )
        write_rows(ctx.output("quality"), rows)
        ctx.write_samples(rows[:12])
        return mean([_wins(r["chosen_score"] - r["rejected_score"]) for r in rows])


def fresh_head(model: nn.Module, seed: int) -> nn.Linear:
    """A scalar head drawn from N(0, 1 / sqrt(D + 1)), bias 0 (Stiennon et al. 2020)."""
    size = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]
    head = nn.Linear(size, 1)
    draws = rng.stream(seed, "reward head").standard_normal(size) / math.sqrt(size + 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(draws)[None])
        head.bias.zero_()
    return head


@torch.no_grad()
def score_answers(
    model: nn.Module, head: nn.Module, groups: Sequence[Preferences], micro_tokens: int
) -> list[list[float]]:
    """Raw scores of each group's answers, in the order of its tree's branches."""
    out: list[list[float]] = [[]] * len(groups)
    for index in micro_batches([g.tree.num_tokens for g in groups], micro_tokens):
        trees = [groups[i].tree for i in index]
        scores = torch.split(branch_scores(model, head, trees), [len(t.branches) for t in trees])
        for i, row in zip(index, scores, strict=True):
            out[i] = row.tolist()
    return out


def _metrics(log: StepLog) -> dict[str, float]:
    pairs = log.sums["pairs"]
    return {
        "reward/accuracy": log.sums["accuracy"] / pairs,
        "reward/margin": log.sums["margin"] / pairs,
        "train/tokens": log.sums["tokens"],
    }


def _wins(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _by_prompt(problems: Sequence[Problem]) -> dict[str, Problem]:
    return {p.prompt.id: p for p in problems}


def _gold_gap(problem: Problem, pair: PreferencePair) -> float | None:
    chosen = verify_problem(problem, pair.chosen).score
    rejected = verify_problem(problem, pair.rejected).score
    return None if chosen is None or rejected is None else chosen - rejected
