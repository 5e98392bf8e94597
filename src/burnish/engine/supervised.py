"""The loop of every training that reads a fixed data set: SFT, reward models, preferences.

Rows come in counter-based order, so the position in the data is the step number and nothing else:
a resume neither repeats nor skips a row.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from burnish import rng
from burnish.algos.batch import Loss
from burnish.config import require
from burnish.engine.trainer import StepLog, Trainer, take_steps
from burnish.pipeline.stage import Context, forwards


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """How much of a data set is read, and in what portions."""

    batch_rows: int
    """Rows of one optimiser step: conversations for SFT, prompts (with all their
    pairs) for rewards and preferences."""
    epochs: float = 1.0
    """Passes over the data."""
    max_steps: int | None = None
    """At most this many optimiser steps; none: as many as the epochs need."""
    max_forwards: float | None = None
    """Stop after the step with which the stage has taken so many forward passes of one token: one
    to score a token, three to train on it. None: no limit. Schedules run over all steps."""

    def __post_init__(self) -> None:
        require(self.batch_rows >= 1, "batch_rows must be at least 1")
        require(self.epochs > 0, "epochs must be above 0")
        require(self.max_steps is None or self.max_steps >= 1, "max_steps must be at least 1")
        require(self.max_forwards is None or self.max_forwards > 0, "max_forwards must be above 0")

    def num_steps(self, num_rows: int) -> int:
        """Optimiser steps over `num_rows` rows."""
        steps = max(math.ceil(self.epochs * num_rows / self.batch_rows), 1)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def rows(self, step: int, num_rows: int, seed: int) -> list[int]:
        """The rows of a step: consecutive ones of the epochs' permutations, end to end."""
        places = range(step * self.batch_rows, (step + 1) * self.batch_rows)
        orders: dict[int, Sequence[int]] = {}
        out = []
        for place in places:
            epoch, offset = divmod(place, num_rows)
            if epoch not in orders:
                orders[epoch] = rng.stream(seed, "order", epoch).permutation(num_rows).tolist()
            out.append(orders[epoch][offset])
        # The last batch of the last epoch may be short, never longer than the epochs ask for.
        limit = math.ceil(self.epochs * num_rows)
        return out[: max(limit - step * self.batch_rows, 1)]

    def scaled(self, factor: float) -> Self:
        """The same with about `factor` of the passes; where steps are limited, with a whole number
        of them, and epochs in the same proportion."""
        steps = None if self.max_steps is None else max(round(self.max_steps * factor), 1)
        share = factor if steps is None or self.max_steps is None else steps / self.max_steps
        return type(self)(
            batch_rows=self.batch_rows,
            epochs=self.epochs * share,
            max_steps=steps,
            max_forwards=None if self.max_forwards is None else self.max_forwards * factor,
        )

    def usual_rows(self, steps: int) -> float:
        """Rows of data that nothing is known of: as many as would be read in the steps, of which
        there are so many where their number is not limited. Fewer passes do not make them more."""
        if self.max_steps is not None:
            return self.max_steps * self.batch_rows / self.epochs
        return steps * self.batch_rows / max(self.epochs, 1.0)


def fit(
    ctx: Context,
    trainer: Trainer,
    passes: Passes,
    *,
    num_rows: int,
    checkpoint_s: float,
    losses: Callable[[int, list[int]], Iterable[Loss]],
    metrics: Callable[[StepLog], dict[str, float]],
    order: Callable[[int], list[int]] | None = None,
    scored_tokens: float = 0.0,
) -> dict[str, float]:
    """Run all steps, resuming from a checkpoint if there is one; returns the summed log sums.

    `losses(step, rows)` yields the slices of one step; `metrics(log)` names what to write; one of
    its sums is `tokens`, those trained on. `order(step)` gives a step's rows where they are not
    simply those of `passes`. `scored_tokens` are those that the stage has scored beforehand.
    """

    def rows(step: int) -> list[int]:
        return passes.rows(step, num_rows, ctx.seed) if order is None else order(step)

    def enough(sums: Mapping[str, float]) -> bool:
        most = passes.max_forwards
        return most is not None and forwards(0, sums.get("tokens", 0.0), scored_tokens) >= most

    return take_steps(
        ctx,
        trainer,
        passes.num_steps(num_rows),
        checkpoint_s=checkpoint_s,
        losses=lambda step: losses(step, rows(step)),
        metrics=metrics,
        enough=enough,
    )
