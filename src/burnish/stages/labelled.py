"""Training of reward models on labels of single completions, which three kinds of them share.

Outcome, process and attribute models differ in the tokens that carry a label, in the loss of a
label, and in how a score is read; the rest is here. Completions of one prompt share its tokens.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.data.splits import prompt_key, split
from burnish.data.store import write_rows
from burnish.engine.reward_model import head_outputs
from burnish.engine.supervised import fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.errors import TrainingError
from burnish.models.policy import Tree, context_length, micro_batches
from burnish.pipeline.stage import Context, Work
from burnish.stages.preferences import TOKENS_PER_PROMPT
from burnish.stages.tuning import Tuning
from burnish.types import Conversation

LabelLosses = Callable[[Float[Tensor, "N K"], Float[Tensor, "N K"]], Float[Tensor, "N K"]]
"""Predicted and true labels -> losses; where the true one is NaN the loss is not used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A completion with labels at some of its tokens."""

    prompt: Conversation
    text: str
    stem: tuple[int, ...]
    ids: tuple[int, ...]
    flags: tuple[bool, ...]
    """Which of `ids` carry labels."""
    labels: tuple[tuple[float, ...], ...]
    """A row for each flagged token, a column for each output of the head; NaN: no label."""
    weight: float = 1.0
    """Of each of its labels, beside those of other answers."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Answers of one prompt, and the tree of them."""

    answers: tuple[Answer, ...]

    @property
    def tree(self) -> Tree:
        answers = self.answers
        return Tree(answers[0].stem, tuple(a.ids for a in answers), tuple(a.flags for a in answers))

    @property
    def labels(self) -> Float[Tensor, "N K"]:
        """In the order of the tree's flagged tokens."""
        return torch.tensor([row for answer in self.answers for row in answer.labels])

    @property
    def weights(self) -> Float[Tensor, "N K"]:
        """Of each label; 0 where there is none."""
        weights = [a.weight for a in self.answers for _ in a.labels]
        return torch.tensor(weights)[:, None] * (~torch.isnan(self.labels))


def usual_work(tuning: Tuning) -> Work:
    """What training on labels is expected to cost, as a guess of prompts with four answers."""
    rows = (tuning.passes.max_steps or 50) * tuning.passes.batch_rows
    tokens = rows * TOKENS_PER_PROMPT
    return Work(trained_tokens=tokens, scored_tokens=tokens / 4, seconds=4)


def divided(
    ctx: Context, text: TextModel, tuning: Tuning, answers: Sequence[Answer], heldout: float
) -> tuple[list[Labelled], list[Labelled]]:
    """(train, held out) by prompt; answers that are too long are dropped and counted.

    Raises:
        TrainingError: none is left.
        DataError: a side is empty.
    """
    limit = min(tuning.max_tokens, context_length(text.model))
    kept = [a for a in answers if len(a.stem) + len(a.ids) <= limit]
    ctx.count(f"answers over {limit} tokens dropped", len(answers) - len(kept), len(answers))
    if not kept:
        raise TrainingError(
            f"of {len(answers)} labelled answers none has at most {limit} tokens "
            f"(max_tokens={tuning.max_tokens}): there is nothing to learn"
        )
    train, held = split(
        _grouped(kept, limit),
        key=lambda g: prompt_key(g.answers[0].prompt),
        heldout=heldout,
        seed=ctx.seed,
    )
    ctx.count("answers held out", sum(len(g.answers) for g in held), len(kept))
    return train, held


def _grouped(answers: Sequence[Answer], limit: int) -> list[Labelled]:
    """Answers by prompt, in trees of at most `limit` tokens."""
    groups: dict[str, list[list[Answer]]] = {}
    for answer in answers:
        chunks = groups.setdefault(answer.prompt.id, [[]])
        size = len(answer.stem) + sum(len(a.ids) for a in chunks[-1]) + len(answer.ids)
        same_stem = all(a.stem == answer.stem for a in chunks[-1])
        if chunks[-1] and (size > limit or not same_stem):
            chunks.append([])
        chunks[-1].append(answer)
    return [Labelled(tuple(chunk)) for chunks in groups.values() for chunk in chunks]


def fit_head(
    ctx: Context,
    text: TextModel,
    head: nn.Linear,
    tuning: Tuning,
    train: Sequence[Labelled],
    losses: LabelLosses,
) -> float:
    """Train model and head on the labels; returns the tokens multiplied."""
    num_steps = tuning.passes.num_steps(len(train))
    totals = fit(
        ctx,
        Trainer(text.model, tuning.optim, num_steps=num_steps, head=head),
        tuning.passes,
        num_rows=len(train),
        checkpoint_s=tuning.checkpoint_s,
        losses=lambda step, rows: label_slices(
            text.model, head, [train[i] for i in rows], losses, tuning.micro_tokens
        ),
        metrics=_metrics,
    )
    return totals["tokens"]


def label_slices(
    model: nn.Module,
    head: nn.Module,
    groups: Sequence[Labelled],
    losses: LabelLosses,
    micro_tokens: int,
) -> Iterator[Loss]:
    """One step's loss in slices: the weighted mean over its labels, sum w l / sum w."""
    total = sum(float(g.weights.sum()) for g in groups)
    for index in micro_batches([g.tree.num_tokens for g in groups], micro_tokens):
        part = [groups[i] for i in index]
        predicted = head_outputs(model, head, [g.tree for g in part]).cpu()
        labels = torch.cat([g.labels for g in part]).to(predicted.dtype)
        weights = torch.cat([g.weights for g in part]).to(predicted.dtype)
        each = torch.where(weights > 0, losses(predicted, labels.nan_to_num()), 0.0)
        tokens = torch.tensor(float(sum(g.tree.num_tokens for g in part)))
        yield Loss(
            (weights * each).sum() / total, {"tokens": tokens, "labels": (weights > 0).sum()}
        )


@torch.no_grad()
def predictions(
    text: TextModel, head: nn.Module, groups: Sequence[Labelled], micro_tokens: int
) -> list[Float[Tensor, "N K"]]:
    """The head's raw outputs at the labelled tokens of each group."""
    out: list[Tensor] = [torch.empty(0)] * len(groups)
    for index in micro_batches([g.tree.num_tokens for g in groups], micro_tokens):
        outputs = head_outputs(text.model, head, [groups[i].tree for i in index]).cpu()
        counts = [len(groups[i].labels) for i in index]
        for i, part in zip(index, torch.split(outputs, counts), strict=True):
            out[i] = part
    return out


def write_quality(
    ctx: Context,
    text: TextModel,
    head: nn.Module,
    held: Sequence[Labelled],
    names: Sequence[str],
    micro_tokens: int,
    *,
    probability: bool,
) -> None:
    """A row for each held-out label: what was predicted, and what it is."""
    rows: list[dict[str, Any]] = []
    found = predictions(text, head, held, micro_tokens)
    for group, outputs in zip(held, found, strict=True):
        shown = torch.sigmoid(outputs) if probability else outputs
        place = 0
        for answer in group.answers:
            for labels in answer.labels:
                predicted = shown[place].tolist()
                place += 1
                rows += [
                    {
                        "prompt": answer.prompt.last_user,
                        "completion": answer.text,
                        "label": name,
                        "true": true,
                        "predicted": guess,
                        "probability": probability,
                    }
                    for name, true, guess in zip(names, labels, predicted, strict=True)
                    if not math.isnan(true)
                ]
    write_rows(ctx.output("quality"), rows)
    ctx.write_samples(rows[:12])


def at_the_end(groups: Sequence[Labelled]) -> list[Labelled]:
    """The same with each answer's last label only."""
    return [
        Labelled(
            tuple(
                replace(a, flags=_last_flag(a.flags), labels=a.labels[-1:]) for a in group.answers
            )
        )
        for group in groups
    ]


def _last_flag(flags: Sequence[bool]) -> tuple[bool, ...]:
    last = max(i for i, flag in enumerate(flags) if flag)
    return tuple(i == last for i in range(len(flags)))


def _metrics(log: StepLog) -> dict[str, float]:
    return {"train/tokens": log.sums["tokens"], "train/labels": log.sums["labels"]}
