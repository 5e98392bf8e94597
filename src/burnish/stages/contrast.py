"""Pairs without anybody's judgement: one model's completions are held to be better than another's.

Delta learning (Geng et al. 2025, 2507.06187), from which OLMo 3's preference data is made
(2512.13961): what counts is that the chosen answer is better than the rejected one,
not that either is good, so a large model's answers against a small one's train a model that is
better than both data sets. Whether they are better is for the recipe to say, and counted here where
the problems have verifiers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.config import require_counts
from burnish.data.store import Sampled, read_completions, write_comparisons
from burnish.errors import DataError
from burnish.pipeline.artifact import CompletionsRef
from burnish.pipeline.stage import Context
from burnish.types import Comparison, mean
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Completions of a stronger and of a weaker model -> comparisons that the stronger one wins."""

    outputs: ClassVar[Mapping[str, str]] = {"comparisons": "comparisons"}

    better: CompletionsRef
    worse: CompletionsRef
    """Of the same problems; those that only one of the two has are left out, and counted."""
    pairs_per_problem: int = 1
    """The first completion of the one with the first of the other, the second with the second, and
    so on."""

    def __post_init__(self) -> None:
        require_counts(self, "pairs_per_problem")

    def run(self, ctx: Context) -> None:
        better, worse = (_by_problem(ctx, ref) for ref in (self.better, self.worse))
        both = [problem_id for problem_id in better if problem_id in worse]
        every = len(better.keys() | worse.keys())
        ctx.count("problems with completions of one model only left out", every - len(both), every)
        pairs = [
            pair
            for problem_id in both
            for pair in list(zip(better[problem_id], worse[problem_id], strict=False))[
                : self.pairs_per_problem
            ]
        ]
        made = [(a, b) for a, b in pairs if a.text.strip() and a.text.strip() != b.text.strip()]
        ctx.count("pairs of equal completions, or without a better one, passed over",
                  len(pairs) - len(made), len(pairs))  # fmt: skip
        if not made:
            raise DataError(
                f"{self.better} and {self.worse} have no problem with different completions in "
                "common: sample both from the same problems"
            )
        write_comparisons(ctx.output("comparisons"), (_comparison(a, b, self) for a, b in made))
        agreeing = [right for a, b in made if (right := _agrees(a, b)) is not None]
        if agreeing:
            ctx.tally("share of pairs whose verifier agrees, ties as a half", mean(agreeing))
        ctx.write_samples(
            {"prompt": a.problem.prompt.last_user, "chosen": a.text, "rejected": b.text}
            for a, b in made[:12]
        )


def _by_problem(ctx: Context, ref: CompletionsRef) -> dict[str, list[Sampled]]:
    found: dict[str, list[Sampled]] = {}
    for item in read_completions(ctx.input(ref)):
        found.setdefault(item.problem.id, []).append(item)
    return found


def _comparison(better: Sampled, worse: Sampled, stage: Contrast) -> Comparison:
    return Comparison(
        prompt=better.problem.prompt,
        a=better.text,
        b=worse.text,
        winner="a",
        annotator=f"contrast({stage.better}, {stage.worse})",
    )


def _agrees(better: Sampled, worse: Sampled) -> float | None:
    """1 where the verifier says the same, .5 where it sees no difference; None: it cannot say."""
    a, b = (verify_problem(item.problem, item.text).score for item in (better, worse))
    if a is None or b is None:
        return None
    return 0.5 if a == b else float(a > b)
