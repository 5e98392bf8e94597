"""Reward models from comparisons (Bradley-Terry), with the baselines that give accuracy meaning."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn

from burnish import rng
from burnish.algos.batch import Loss
from burnish.algos.bradley_terry import bradley_terry_losses, pair_accuracy
from burnish.config import require
from burnish.data.splits import prompt_key, split
from burnish.data.store import read_preferences, read_problems, write_rows
from burnish.engine.optim import Optim
from burnish.engine.reward_model import Scale, branch_scores, save_scale
from burnish.engine.supervised import Passes, fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.errors import TrainingError
from burnish.evals.bag_of_words import BagOfWords
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.models.policy import Tree, micro_batches
from burnish.pipeline.artifact import ModelRef, PreferencesRef, ProblemsRef
from burnish.pipeline.stage import Context, Work
from burnish.types import Comparison, PreferencePair, Problem, mean
from burnish.verifiers.verify import verify_problem

TOKENS_PER_PAIR = 130


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
        require(0 < self.heldout < 1, "heldout must be in (0, 1)")
        require(self.center_coef >= 0, "center_coef must be at least 0")

    def work(self) -> Work:
        pairs = (self.passes.max_steps or 100) * self.passes.batch_rows
        return Work(trained_tokens=pairs * TOKENS_PER_PAIR, scored_tokens=30_000, seconds=4)

    def scaled(self, factor: float) -> Self:
        return replace(self, passes=self.passes.scaled(factor))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, lora=self.lora, seed=ctx.seed)
        encoded = encode_pairs(ctx, text, ctx.input(self.comparisons), self.max_tokens)
        train, held = split(encoded, key=_prompt, heldout=self.heldout, seed=ctx.seed)
        head = fresh_head(text.model, ctx.seed)
        num_steps = self.passes.num_steps(len(train))
        trainer = Trainer(text.model, self.optim, num_steps=num_steps, head=head)
        trees = [tree for _, tree in train]
        totals = fit(
            ctx,
            trainer,
            self.passes,
            num_rows=len(train),
            checkpoint_s=self.checkpoint_s,
            losses=lambda step, rows: self._losses(text.model, head, [trees[i] for i in rows]),
            metrics=_metrics,
        )
        held_trees = [tree for _, tree in held]
        trained_scores = score_pairs(text.model, head, trees, self.micro_tokens)
        flat = [score for pair in trained_scores for score in pair]
        spread = torch.tensor(flat).std().item()
        out = ctx.output("reward_model")
        text.save(out, head=head)
        save_scale(out, Scale(mean=mean(flat), std=max(spread, 1e-6)))
        held_scores = score_pairs(text.model, head, held_trees, self.micro_tokens)
        self._quality(ctx, [p for p, _ in train], [p for p, _ in held], held_scores)
        scored = sum(t.num_tokens for t in (*trees, *held_trees))
        ctx.spend(trained_tokens=totals["tokens"], scored_tokens=scored)
        ctx.metrics.write(num_steps, {"reward/heldout_accuracy": _accuracy(held_scores)})

    def _losses(self, model: nn.Module, head: nn.Module, trees: Sequence[Tree]) -> Iterator[Loss]:
        for index in micro_batches([t.num_tokens for t in trees], self.micro_tokens):
            part = [trees[i] for i in index]
            chosen, rejected = branch_scores(model, head, part).view(-1, 2).unbind(1)
            losses = bradley_terry_losses(chosen, rejected, center_coef=self.center_coef)
            with torch.no_grad():
                sums = {
                    "accuracy": pair_accuracy(chosen, rejected).sum(),
                    "margin": (chosen - rejected).sum(),
                    "pairs": torch.tensor(float(len(part))),
                    "tokens": torch.tensor(float(sum(t.num_tokens for t in part))),
                }
            yield Loss(losses.sum() / len(trees), sums)

    def _quality(
        self,
        ctx: Context,
        train: Sequence[PreferencePair],
        held: Sequence[PreferencePair],
        scores: Sequence[tuple[float, float]],
    ) -> None:
        bag = BagOfWords([(p.chosen, p.rejected) for p in train])
        known = {} if self.problems is None else _by_prompt(read_problems(ctx.input(self.problems)))
        rows = []
        for pair, (chosen, rejected) in zip(held, scores, strict=True):
            length_gap = len(pair.chosen) - len(pair.rejected)
            problem = known.get(pair.prompt.id)
            rows.append(
                {
                    "prompt": pair.prompt.last_user,
                    "chosen": pair.chosen,
                    "rejected": pair.rejected,
                    "chosen_score": chosen,
                    "rejected_score": rejected,
                    "shorter": _wins(-length_gap),
                    "bag_of_words": _wins(bag.score(pair.chosen) - bag.score(pair.rejected)),
                    "length_gap": length_gap,
                    "gold_gap": None if problem is None else _gold_gap(problem, pair),
                }
            )
        write_rows(ctx.output("quality"), rows)
        ctx.write_samples(rows[:12])


def encode_pairs(
    ctx: Context, text: TextModel, path: Path, max_tokens: int
) -> list[tuple[PreferencePair, Tree]]:
    """Comparisons or pairs as trees; ties, equal texts and long pairs are counted and left out.

    Raises:
        TrainingError: none is left.
    """
    found = read_preferences(path)
    pairs = [pair for item in found if (pair := _decided(item)) is not None]
    ctx.count("ties and equal completions left out", len(found) - len(pairs), len(found))
    encoded = [(pair, _tree(text, pair)) for pair in pairs]
    kept = [(pair, tree) for pair, tree in encoded if tree.num_tokens <= max_tokens]
    ctx.count(f"pairs over {max_tokens} tokens dropped", len(encoded) - len(kept), len(encoded))
    if not kept:
        raise TrainingError(
            f"of {len(found)} preferences none has a winner and at most max_tokens={max_tokens} "
            "tokens: there is nothing to learn"
        )
    return kept


def _decided(item: Comparison | PreferencePair) -> PreferencePair | None:
    """As a pair; None for a tie or equal texts."""
    if isinstance(item, PreferencePair):
        return item
    if item.winner == "tie" or item.a.strip() == item.b.strip():
        return None
    return PreferencePair(
        prompt=item.prompt,
        chosen=item.a if item.winner == "a" else item.b,
        rejected=item.b if item.winner == "a" else item.a,
        source=item.annotator,
    )


def _tree(text: TextModel, pair: PreferencePair) -> Tree:
    """The prompt with the chosen and then the rejected answer."""
    stem, chosen = text.answer(pair.prompt, pair.chosen)
    _, rejected = text.answer(pair.prompt, pair.rejected)
    return Tree.prompt(stem, [chosen, rejected])


def _prompt(item: tuple[PreferencePair, Tree]) -> str:
    return prompt_key(item[0])


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
def score_pairs(
    model: nn.Module, head: nn.Module, trees: Sequence[Tree], micro_tokens: int
) -> list[tuple[float, float]]:
    """Raw scores of (chosen, rejected) for each pair."""
    out: list[tuple[float, float]] = [(0.0, 0.0)] * len(trees)
    for index in micro_batches([t.num_tokens for t in trees], micro_tokens):
        scores = branch_scores(model, head, [trees[i] for i in index]).view(-1, 2).tolist()
        for i, (chosen, rejected) in zip(index, scores, strict=True):
            out[i] = (chosen, rejected)
    return out


def _metrics(log: StepLog) -> dict[str, float]:
    pairs = log.sums["pairs"]
    return {
        "reward/accuracy": log.sums["accuracy"] / pairs,
        "reward/margin": log.sums["margin"] / pairs,
        "train/tokens": log.sums["tokens"],
    }


def _accuracy(scores: Sequence[tuple[float, float]]) -> float:
    return mean([_wins(chosen - rejected) for chosen, rejected in scores])


def _wins(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _by_prompt(problems: Sequence[Problem]) -> dict[str, Problem]:
    return {p.prompt.id: p for p in problems}


def _gold_gap(problem: Problem, pair: PreferencePair) -> float | None:
    chosen = verify_problem(problem, pair.chosen).score
    rejected = verify_problem(problem, pair.rejected).score
    return None if chosen is None or rejected is None else chosen - rejected
