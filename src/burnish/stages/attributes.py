"""Reward models by regression on rated attributes, which one set of weights makes into a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from burnish.algos.attribute_reward import attribute_losses
from burnish.config import require
from burnish.data.store import read_ratings
from burnish.engine.readings import Attributes, last_only
from burnish.engine.reward_model import RewardConfig, Scale, save_config
from burnish.engine.text_model import TextModel
from burnish.errors import DataError
from burnish.pipeline.artifact import RatingsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.labelled import (
    Answer,
    Labelled,
    divided,
    fit_head,
    predictions,
    usual_work,
    write_quality,
)
from burnish.stages.reward import fresh_head
from burnish.stages.tuning import Tuning
from burnish.types import Rating


@dataclass(frozen=True, kw_only=True)
class TrainAttributes(Tuning):
    """Model + ratings -> reward model with one output an attribute."""

    outputs: ClassVar[Mapping[str, str]] = {"reward_model": "reward_model", "quality": "scores"}

    ratings: RatingsRef
    weights: dict[str, float]
    """Attribute -> what it counts in the score; negative for what is not wanted, 0 for what is
    only predicted."""
    heldout: float = 0.2
    """Share of the prompts kept for measuring."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        require(0 < self.heldout < 1, "heldout must be in (0, 1)")
        require(any(self.weights.values()), "weights must name an attribute that counts")

    def work(self) -> Work:
        return usual_work(self)

    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        items = read_ratings(ctx.input(self.ratings))
        names = tuple(self.weights)
        answers = [_answer(text, item, names) for item in items]
        train, held = divided(ctx, text, self, answers, self.heldout)
        mean, std = _spread(train, names)
        head = fresh_head(text.model, ctx.seed, num_outputs=len(names))

        def losses(predicted: Tensor, rated: Tensor) -> Tensor:
            return attribute_losses(predicted, (rated - mean) / std)

        tokens = fit_head(ctx, text, head, self, train, losses)
        _on_their_own_scale(head, mean, std)
        out = ctx.output("reward_model")
        text.save(out, head=head)
        reading = Attributes(weights=self.weights)
        outputs = predictions(text, head, train, self.micro_tokens)
        scores = torch.stack([reading.score(row[None]) for part in outputs for row in part])
        deviation = scores.std().item() if len(scores) > 1 else 0.0
        scale = Scale(mean=scores.mean().item(), std=deviation or 1.0)
        save_config(out, RewardConfig(reading=reading, scale=scale))
        write_quality(ctx, text, head, held, names, self.micro_tokens, probability=False)
        ctx.spend(
            trained_tokens=tokens, scored_tokens=sum(g.tree.num_tokens for g in [*train, *held])
        )


def _answer(text: TextModel, item: Rating, names: Sequence[str]) -> Answer:
    stem, ids = text.answer(item.prompt, item.completion)
    return Answer(
        prompt=item.prompt,
        text=item.completion,
        stem=stem,
        ids=ids,
        flags=tuple(last_only(ids)),
        labels=(tuple(item.values.get(name, float("nan")) for name in names),),
    )


def _spread(train: Sequence[Labelled], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each attribute's training ratings.

    Raises:
        DataError: nothing was rated on an attribute, or everything alike.
    """
    labels = torch.cat([group.labels for group in train])
    for column, name in zip(labels.T, names, strict=True):
        known = column[~column.isnan()]
        if len(known.unique()) < 2:
            raise DataError(
                f"weights.{name}: {len(known)} training ratings, all alike: there is nothing to "
                "learn; leave the attribute out or look at its name"
            )
    mean = labels.nanmean(0)
    return mean, ((labels - mean) ** 2).nanmean(0).sqrt()


@torch.no_grad()
def _on_their_own_scale(head: nn.Linear, mean: Tensor, std: Tensor) -> None:
    """Undo the standardisation inside the head: w <- w std, b <- b std + mean."""
    mean, std = mean.to(head.weight.device), std.to(head.weight.device)
    head.weight.mul_(std[:, None])
    head.bias.mul_(std).add_(mean)
