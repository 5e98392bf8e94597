"""Merging models: one model out of several of the same architecture, without any training."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.config import require
from burnish.errors import Interrupted, ModelError
from burnish.models.merge import Combine, add_task_vectors, average, merge_models
from burnish.pipeline.artifact import ModelRef, Ref
from burnish.pipeline.stage import Context
from burnish.text.tokenizer import load_tokenizer

SEGMENTATION = ("normalizer", "pre_tokenizer", "model")
"""The parts of a tokenizer that decide which ids a text has, beside its added tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """The weighted average sum_i w_i theta_i / sum_i w_i (model soups, 2203.05482).

    Llama 3 (2407.21783, section 4.1.5) so averages models of different data and settings at each
    stage. The models should descend from one, or their average is of no use.
    """

    weights: tuple[float, ...] | None = None
    """One for each model, in their order; none: all alike. Negative ones move away from a model."""

    def __post_init__(self) -> None:
        if self.weights is not None:
            require(all(map(math.isfinite, self.weights)), "weights must be finite")
            total, size = math.fsum(self.weights), math.fsum(map(abs, self.weights))
            require(abs(total) > 1e-9 * size, "weights sum to 0: their average is not defined")

    @property
    def sources(self) -> tuple[Ref, ...]:
        """Models that are read beside those to be merged."""
        return ()

    def require_for(self, num_models: int) -> None:
        """Pass where the method fits so many models. Raises: ConfigError."""
        require(num_models > 1, "models: an average needs at least two")
        given = num_models if self.weights is None else len(self.weights)
        require(given == num_models, f"method: {given} weights for {num_models} models")

    def combine(self, num_models: int) -> Combine:
        """What becomes of one tensor of each model."""
        weights = self.weights or (1.0,) * num_models
        return lambda tensors: average(tensors, weights)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskVectors:
    """theta_base + sum_i lambda_i (theta_i - theta_base) (task arithmetic, 2212.04089).

    One model with lambda from 0 to 1 lies between the base and that model; a negative lambda
    unlearns what the model was trained for.
    """

    base: ModelRef
    """The model that all others were trained from."""
    scales: tuple[float, ...]
    """lambda for each model, in their order. The paper chooses it on held-out problems: raising it
    gives a task more say, until tasks disturb one another."""

    def __post_init__(self) -> None:
        require(all(map(math.isfinite, self.scales)), "scales must be finite")

    @property
    def sources(self) -> tuple[Ref, ...]:
        """Models that are read beside those to be merged."""
        return (self.base,)

    def require_for(self, num_models: int) -> None:
        """Pass where the method fits so many models. Raises: ConfigError."""
        require(num_models > 0, "models: there is none")
        given = len(self.scales)
        require(given == num_models, f"method: {given} scales for {num_models} models")

    def combine(self, num_models: int) -> Combine:
        """What becomes of one tensor of the base and of each model."""
        return lambda tensors: add_task_vectors(tensors[0], tensors[1:], self.scales)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Models of one architecture and tokenizer -> one model.

    Config, tokenizer and chat template are the first model's. Numbers are combined in float64 and
    stored in their own format; how bfloat16 is rounded, and why not to the nearest number, is told
    by `models.merge.rounded`.
    """

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    models: tuple[ModelRef, ...]
    method: Linear | TaskVectors = Linear()

    def __post_init__(self) -> None:
        self.method.require_for(len(self.models))

    def run(self, ctx: Context) -> None:
        paths = [ctx.input(ref) for ref in (*self.method.sources, *self.models)]
        first = ctx.input(self.models[0])
        for path in paths:
            _require_same_tokens(first, path)
        templates = {load_tokenizer(ctx.input(ref)).chat_template for ref in self.models}
        if len(templates) > 1:
            ctx.note(f"the models' chat templates differ; this one has that of {self.models[0]}")
        progress = None

        def on_tensor(done: int, total: int) -> None:
            nonlocal progress
            if ctx.stopping():
                raise Interrupted()
            progress = progress or ctx.progress(total, "tensor")
            progress.update(done)

        merge_models(
            paths,
            ctx.output("model"),
            self.method.combine(len(self.models)),
            like=first,
            seed=ctx.seed,
            on_tensor=on_tensor,
        )


def _require_same_tokens(one: Path, other: Path) -> None:
    """Pass where each text has the same ids in both models. Raises: ModelError."""
    mine, theirs = _tokens(one), _tokens(other)
    differ = [part for part in mine if mine[part] != theirs[part]]
    if differ:
        raise ModelError(
            f"{other}: its tokenizer is not that of {one} ({' and '.join(differ)} differ); rows of "
            "their embeddings stand for different tokens, so they cannot be merged"
        )


def _tokens(path: Path) -> dict[str, Any]:
    tokenizer = load_tokenizer(path)
    found = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["content"]: token["id"] for token in found["added_tokens"]}
    return {"added tokens": added} | {part: found[part] for part in SEGMENTATION}
