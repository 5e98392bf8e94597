"""Ratings of completions by their problems' verifiers, part by part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.data.store import read_completions, write_ratings
from burnish.errors import DataError
from burnish.pipeline.artifact import CompletionsRef
from burnish.pipeline.stage import Context
from burnish.types import Rating
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Completions -> ratings: each part of a verdict is an attribute."""

    outputs: ClassVar[Mapping[str, str]] = {"ratings": "ratings"}

    completions: CompletionsRef

    def run(self, ctx: Context) -> None:
        items = read_completions(ctx.input(self.completions))
        ratings = [
            Rating(prompt=item.problem.prompt, completion=item.text, values=parts)
            for item in items
            if item.text.strip() and (parts := verify_problem(item.problem, item.text).parts)
        ]
        if not ratings:
            raise DataError(
                f"none of {len(items)} completions has a verdict in parts; everyday problems have"
            )
        ctx.count("completions without a verdict in parts", len(items) - len(ratings), len(items))
        write_ratings(ctx.output("ratings"), ratings)
        ctx.write_samples(
            {"prompt": r.prompt.last_user, "completion": r.completion, **r.values}
            for r in ratings[:12]
        )
