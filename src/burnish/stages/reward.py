"""Reward models from comparisons (Bradley-Terry), with the baselines that give accuracy meaning."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from burnish import rng
from burnish.algos.batch import Loss
from burnish.algos.bradley_terry import bradley_terry_losses, pair_accuracy
from burnish.config import require, require_counts
from burnish.data.splits import split
from burnish.data.store import Sampled, read_documents, read_problems, write_rows
from burnish.engine.memory import Held
from burnish.engine.readings import last_only
from burnish.engine.reward_model import RewardConfig, Scale, head_outputs, save_config
from burnish.engine.supervised import fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.errors import DataError
from burnish.models.depth import keep_layers
from burnish.models.policy import Tree, head_weight, micro_batches
from burnish.pipeline.artifact import DemonstrationsRef, PreferencesRef, ProblemsRef
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.preferences import (
    Preferences,
    num_pairs,
    preference_texts,
    read_groups,
    sides,
)
from burnish.stages.recording import recording_models
from burnish.stages.reward_quality import quality_rows, wins
from burnish.stages.tuning import Tuning
from burnish.types import Conversation, mean


@dataclass(frozen=True, kw_only=True)
class TrainReward(Tuning):
    """Model + comparisons -> reward model, scored on held-out prompts.

    The backbone keeps its weights, the scalar head is fresh. All pairs of a prompt are one row of
    a step, ranked lists of K completions included.
    """

    outputs: ClassVar[Mapping[str, str]] = {"reward_model": "reward_model", "quality": "scores"}
    version: ClassVar[int] = 1

    comparisons: PreferencesRef
    """Or preference pairs."""
    heldout: float = 0.2
    """Share of the prompts kept for measuring; pairs of one prompt never straddle."""
    center_coef: float = 0.01
    """Pulls scores towards zero (2312.09244)."""
    margin_coef: float = 0.0
    """Times a pair's own margin is how much further apart its scores are asked to be (Llama 2,
    2307.09288: 1, with margins that grow with how much better the annotator found the one);
    0 ignores margins."""
    mean_over: Literal["pairs", "prompts"] = "pairs"
    """What weighs the same in a step: every pair, or every prompt, whose pairs share its weight as
    InstructGPT's 1 / (K choose 2) does; alike where all prompts have as many pairs."""
    reference: DemonstrationsRef | None = None
    """Completions, or demonstrations, on which scores get mean 0 and deviation 1; none: the
    training answers."""
    unit_deviation: bool = True
    """Off: only the mean becomes 0, by a bias as InstructGPT's on its demonstrations."""
    problems: ProblemsRef | None = None
    """Where the gold reward of a held-out prompt is looked up."""
    num_layers: int | None = None
    """Only the model's first so many layers, for a smaller reward model; none: all."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        require(0 < self.heldout < 1, "heldout must be in (0, 1)")
        require(self.center_coef >= 0, "center_coef must be at least 0")
        require(self.margin_coef >= 0, "margin_coef must be at least 0")
        require_counts(self, "num_layers")
        require(
            self.num_layers is None or self.lora is None, "num_layers and lora do not go together"
        )

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        every = preference_texts(known, self.comparisons, self.passes)
        train = replace(every, num_rows=(1 - self.heldout) * every.num_rows)
        steps = self.passes.num_steps(max(round(train.num_rows), 1))
        work = self.training_work(train, steps)
        work = replace(work, scored_tokens=every.num_rows * every.tree_tokens)
        return work.within(self.passes.max_forwards), {}

    def held(self, known: Known) -> list[Held]:
        return self.tuning_held(preference_texts(known, self.comparisons, self.passes))

    @recording_models
    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        if self.num_layers is not None:
            keep_layers(text.model, self.num_layers)
        groups = read_at_the_end(
            read_groups(ctx, text, ctx.input(self.comparisons), self.max_tokens)
        )
        self._check_margins(ctx, groups)
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
        reference = [g.tree for g in train]
        if self.reference is not None:
            reference = reference_trees(text, read_documents(ctx.input(self.reference)))
        scale = scale_of(score_trees(text.model, head, reference, self.micro_tokens))
        if not self.unit_deviation:
            scale = replace(scale, std=1.0)
        held_scores = score_trees(text.model, head, [g.tree for g in held], self.micro_tokens)
        out = ctx.output("reward_model")
        text.save(out, head=head)
        save_config(out, RewardConfig(scale=scale))
        known = [] if self.problems is None else read_problems(ctx.input(self.problems))
        rows = quality_rows(train, held, held_scores, known)
        write_rows(ctx.output("quality"), rows)
        ctx.write_samples(rows[:12])
        scored = sum(tree.num_tokens for tree in [*reference, *(g.tree for g in held)])
        ctx.spend(trained_tokens=totals["tokens"], scored_tokens=scored)
        accuracy = mean([wins(r["chosen_score"] - r["rejected_score"]) for r in rows])
        ctx.metrics.write(num_steps, {"reward/heldout_accuracy": accuracy})

    def _check_margins(self, ctx: Context, groups: Sequence[Preferences]) -> None:
        """Raises: DataError, where margins are asked for and no pair has one."""
        missing = sum(pair.margin is None for group in groups for pair in group.pairs)
        if not self.margin_coef:
            return
        if missing == num_pairs(groups):
            raise DataError(
                f"margin_coef={self.margin_coef}, but no pair has a `margin`: give them, or 0"
            )
        ctx.count("pairs without a margin, taken as 0", missing, num_pairs(groups))

    def _losses(
        self, model: nn.Module, head: nn.Module, groups: Sequence[Preferences]
    ) -> Iterator[Loss]:
        for index in micro_batches([g.tree.num_tokens for g in groups], self.micro_tokens):
            part = [groups[i] for i in index]
            scores = head_outputs(model, head, [g.tree for g in part])[:, 0]
            better, worse = (side.to(scores.device) for side in sides(part))
            chosen, rejected = scores[better], scores[worse]
            margins = [pair.margin or 0.0 for group in part for pair in group.pairs]
            losses = bradley_terry_losses(
                chosen,
                rejected,
                margin=self.margin_coef * scores.new_tensor(margins),
                center_coef=self.center_coef,
            )
            if self.mean_over == "pairs":
                total = losses.sum() / num_pairs(groups)
            else:
                sizes = [len(group.pairs) for group in part for _ in group.pairs]
                total = (losses / losses.new_tensor(sizes)).sum() / len(groups)
            with torch.no_grad():
                sums = {
                    "accuracy": pair_accuracy(chosen, rejected).sum(),
                    "margin": (chosen - rejected).sum(),
                    "pairs": torch.tensor(float(num_pairs(part))),
                    "tokens": torch.tensor(float(sum(g.tree.num_tokens for g in part))),
                }
            yield Loss(total, sums)


def fresh_head(model: nn.Module, seed: int, *, num_outputs: int = 1) -> nn.Linear:
    """A head drawn from N(0, 1 / sqrt(D + 1)), bias 0 (Stiennon et al. 2020)."""
    size = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]
    head = nn.Linear(size, num_outputs)
    shape = (num_outputs, size)
    draws = rng.stream(seed, "reward head").standard_normal(shape) / math.sqrt(size + 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(draws))
        head.bias.zero_()
    return head.to(head_weight(model).device)


def read_at_the_end(groups: Sequence[Preferences]) -> list[Preferences]:
    """The same with only the last token of each answer flagged, where the head is read."""
    return [replace(group, tree=group.tree.flagged(last_only)) for group in groups]


def reference_trees(text: TextModel, items: Sequence[Conversation | Sampled | str]) -> list[Tree]:
    """Completions, or conversations' last answers, as trees whose last token is read."""
    given: list[tuple[Conversation, str]] = []
    for item in items:
        if isinstance(item, Sampled):
            given.append((item.problem.prompt, item.text))
        else:
            assert isinstance(item, Conversation), "plain texts answer nothing"
            prompt = replace(item, messages=item.messages[:-1])
            given.append((prompt, item.messages[-1].content))
    answers = [text.answer(prompt, answer) for prompt, answer in given if answer.strip()]
    return [Tree.prompt(stem, [ids]).flagged(last_only) for stem, ids in answers]


@torch.no_grad()
def score_trees(
    model: nn.Module, head: nn.Module, trees: Sequence[Tree], micro_tokens: int
) -> list[list[float]]:
    """Raw scores of each tree's branches, in order."""
    out: list[list[float]] = [[]] * len(trees)
    for index in micro_batches([t.num_tokens for t in trees], micro_tokens):
        part = [trees[i] for i in index]
        scores = head_outputs(model, head, part)[:, 0]
        for i, row in zip(index, torch.split(scores, [len(t.branches) for t in part]), strict=True):
            out[i] = row.tolist()
    return out


def scale_of(scores: Sequence[Sequence[float]]) -> Scale:
    """What makes these scores have mean 0 and deviation 1."""
    flat = torch.tensor([score for row in scores for score in row])
    std = flat.std().item() if len(flat) > 1 else 0.0
    return Scale(mean=flat.mean().item(), std=max(std, 1e-6))


def _metrics(log: StepLog) -> dict[str, float]:
    pairs = log.sums["pairs"]
    return {
        "reward/accuracy": log.sums["accuracy"] / pairs,
        "reward/margin": log.sums["margin"] / pairs,
        "train/tokens": log.sums["tokens"],
    }
