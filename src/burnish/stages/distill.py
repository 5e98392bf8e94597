"""Distillation: a model learns the whole next-token distributions of another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar, Self

import torch
from torch import nn

from burnish.algos.batch import Loss
from burnish.algos.distill import Distillation
from burnish.config import require, require_counts
from burnish.data.store import read_problems
from burnish.engine.optim import Optim
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer, take_steps
from burnish.errors import ModelError, TrainingError
from burnish.models.divergence import divergences
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.models.policy import (
    Forest,
    Tree,
    context_length,
    head_weight,
    micro_batches,
    predicting,
)
from burnish.pipeline.artifact import DemonstrationsRef, ModelRef, ProblemsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.demonstrations import read_documents
from burnish.stages.distill_texts import TextSource
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws
from burnish.text.chat import Encoded
from burnish.text.vocabulary import require_same_vocabulary
from burnish.types import Json


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Student + teacher + problems -> student. Both read the very same token ids, in the student's
    chat format, so both must have the same vocabulary."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    model: ModelRef
    """The student."""
    teacher: ModelRef
    problems: ProblemsRef
    """What the student, or in the teacher's share the teacher, answers."""
    optim: Optim
    steps: int
    """Optimiser steps, each on fresh texts."""
    problems_per_step: int
    num_samples: int
    """Completions a problem and step."""
    draws: Draws
    """How student and teacher write. A completion that is cut is trained on as far as it goes."""
    algorithm: Distillation = Distillation()
    data: tuple[DemonstrationsRef, ...] = ()
    """Conversations or completions to read in the share that is not on-policy, in place of what the
    teacher writes: problems_per_step * num_samples rows a step, each equally likely."""
    max_tokens: int = 1024
    """Longer rows of `data`, and those beyond either model's context, are dropped and counted."""
    micro_tokens: int = 2048
    max_rows: int = 192
    lora: LoRA | None = None
    precision: Precision = "bfloat16"
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        require_counts(self, "steps", "problems_per_step", "num_samples")
        require_counts(self, "max_tokens", "micro_tokens", "max_rows")
        require(
            not self.data or self.algorithm.on_policy < 1,
            "data is for the share that is not on-policy: algorithm.on_policy must be below 1",
        )

    def work(self) -> Work:
        rows = self.steps * self.problems_per_step * self.num_samples
        written = USUAL_SHARE * rows * self.draws.max_new_tokens
        prompts = self.steps * self.problems_per_step * PROMPT_TOKENS
        fresh = self.algorithm.on_policy if self.data else 1.0
        return Work(
            sampled_tokens=written * fresh,
            trained_tokens=written + prompts,
            scored_tokens=written + prompts * (1 + fresh),
            seconds=6,
        )

    def scaled(self, factor: float) -> Self:
        return replace(self, steps=max(round(self.steps * factor), 1))

    def run(self, ctx: Context) -> None:
        student = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        teacher = TextModel.open(ctx.input(self.teacher), self.precision, ctx.device)
        require_same_vocabulary(student.path, teacher.path)
        _require_heads_of_one_size(student, teacher)
        if student.tokenizer.chat_template != teacher.tokenizer.chat_template:
            ctx.note("the teacher has another chat template: it reads prompts in the student's")
        source = self._source(ctx, student, teacher)
        shown: list[dict[str, Json]] = []

        def losses(step: int) -> Iterator[Loss]:
            texts = source.texts(step)
            shown[:] = texts.shown
            yield Loss(torch.zeros(()), texts.sums)
            yield from self._losses(student.model, teacher.model, texts.trees)

        totals = take_steps(
            ctx,
            Trainer(student.model, self.optim, num_steps=self.steps),
            self.steps,
            checkpoint_s=self.checkpoint_s,
            losses=losses,
            metrics=_metrics,
            samples=lambda step: shown,
        )
        limit = self.draws.max_new_tokens
        ctx.count(f"completions cut at {limit} tokens", int(totals["cut"]), int(totals["texts"]))
        ctx.spend(
            sampled_tokens=totals["sampled"],
            trained_tokens=totals["tokens"],
            scored_tokens=totals["tokens"],
        )
        student.save(ctx.output("model"))

    def _source(self, ctx: Context, student: TextModel, teacher: TextModel) -> TextSource:
        problems = read_problems(ctx.input(self.problems))
        if not problems:
            raise TrainingError("there are no problems to train on")
        return TextSource(
            student=student,
            teacher=teacher,
            problems=problems,
            data=self._rows(ctx, student, teacher),
            draws=self.draws,
            on_policy=self.algorithm.on_policy,
            problems_per_step=self.problems_per_step,
            num_samples=self.num_samples,
            max_rows=self.max_rows,
            micro_tokens=self.micro_tokens,
            seed=ctx.seed,
        )

    def _rows(self, ctx: Context, student: TextModel, teacher: TextModel) -> list[Encoded]:
        """All rows of `data`."""
        if not self.data:
            return []
        limit = min(self.max_tokens, context_length(teacher.model))
        sources = read_documents(ctx, student, self.data, train_on="assistant", max_tokens=limit)
        return [row for rows in sources for row in rows]

    def _losses(
        self, student: nn.Module, teacher: nn.Module, trees: Sequence[Tree]
    ) -> Iterator[Loss]:
        flags = [branch for tree in trees for branch in tree.trained]
        mask = torch.zeros(len(flags), max(map(len, flags)), dtype=torch.bool)
        for row, branch in enumerate(flags):
            mask[row, : len(branch)] = torch.tensor(branch)
        weights = self.algorithm.weights(mask)
        first = [0, *accumulate(len(tree.branches) for tree in trees)]
        device = next(student.parameters()).device
        for index in micro_batches([t.num_tokens for t in trees], self.micro_tokens):
            part = [trees[i] for i in index]
            rows = torch.tensor([r for i in index for r in range(first[i], first[i + 1])])
            forest = Forest.of(part, device)
            with torch.no_grad():
                teacher_hidden = predicting(teacher, forest)
            found, observed = divergences(
                predicting(student, forest),
                head_weight(student),
                teacher_hidden,
                head_weight(teacher),
                self.algorithm.losses,
                self.algorithm.observed,
            )
            reverse_kl, entropy = observed.sum(0)
            yield Loss(
                (weights[rows][mask[rows]].to(device) * found).sum(),
                {
                    "divergence": found.detach().sum(),
                    "reverse_kl": reverse_kl,
                    "entropy": entropy,
                    "trained": torch.tensor(float(len(found))),
                    "tokens": torch.tensor(float(sum(t.num_tokens for t in part))),
                },
            )


def _require_heads_of_one_size(student: TextModel, teacher: TextModel) -> None:
    """Pass where both give a probability to the same ids. Raises: ModelError."""
    sizes = [head_weight(text.model).shape[0] for text in (student, teacher)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"{student.path} and {teacher.path}: their heads have {sizes[0]} and {sizes[1]} tokens,"
            " so their distributions cannot be compared; train on the teacher's completions "
            "instead (stage sft)"
        )


def _metrics(log: StepLog) -> dict[str, float]:
    sums = log.sums
    trained, texts = sums["trained"], sums["texts"]
    return {
        "distill/divergence": sums["divergence"] / trained,
        "distill/reverse_kl": sums["reverse_kl"] / trained,
        "distill/entropy": sums["entropy"] / trained,
        "distill/on_policy": sums["on_policy"],
        "distill/length": trained / texts,
        "distill/truncated": sums["cut"] / texts,
        "distill/sampled_tokens": sums["sampled"],
        "distill/sample_seconds": sums["sample_seconds"],
        "train/tokens": sums["tokens"],
        "train/trained_tokens": trained,
    }
