"""Annotation: completions become Comparisons, by anyone who can say which of two is better."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from burnish import rng
from burnish.config import require
from burnish.data.store import Sampled, read_completions, write_comparisons
from burnish.pipeline.artifact import CompletionsRef
from burnish.pipeline.stage import Context
from burnish.types import Comparison, Problem, Winner, mean
from burnish.verifiers.verify import verify_problem


class Annotator(Protocol):
    """A person, an AI judge, a reward model or a program."""

    @property
    def name(self) -> str:
        """Recorded with every comparison."""

    def compare(self, problem: Problem, a: str, b: str, key: int) -> Winner:
        """Which completion is better; chance, if any, follows `key`."""


@dataclass(frozen=True, kw_only=True)
class RubricAnnotator:
    """The problem's own rubric, with the noise of a Bradley-Terry annotator.

    P(a wins) = sigmoid((gold(a) - gold(b)) / temperature), and equal gold is a tie. Raising the
    temperature makes it err more often; the gold reward stays known, so what training makes of the
    noise can be measured.
    """

    temperature: float = 0.05

    def __post_init__(self) -> None:
        require(self.temperature > 0, "temperature must be above 0")

    @property
    def name(self) -> str:
        return f"rubric(temperature={self.temperature})"

    def compare(self, problem: Problem, a: str, b: str, key: int) -> Winner:
        gap = _gold(problem, a) - _gold(problem, b)
        if gap == 0:
            return "tie"
        wins = 1 / (1 + math.exp(-max(min(gap / self.temperature, 700), -700)))
        return "a" if rng.stream(key, "annotator").random() < wins else "b"


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Completions -> comparisons."""

    outputs: ClassVar[Mapping[str, str]] = {"comparisons": "comparisons"}

    completions: CompletionsRef
    annotator: RubricAnnotator = RubricAnnotator()
    pairs_per_problem: int = 4
    """Drawn at random from all pairs of a problem's completions with different texts."""

    def __post_init__(self) -> None:
        require(self.pairs_per_problem >= 1, "pairs_per_problem must be at least 1")

    def run(self, ctx: Context) -> None:
        groups: dict[str, list[Sampled]] = {}
        for item in read_completions(ctx.input(self.completions)):
            groups.setdefault(item.problem.id, []).append(item)
        made: list[Comparison] = []
        upsets, same, possible = [], 0, 0
        for problem_id, group in groups.items():
            pairs = list(itertools.combinations(group, 2))
            distinct = [(x, y) for x, y in pairs if x.text.strip() != y.text.strip()]
            possible += len(pairs)
            same += len(pairs) - len(distinct)
            order = rng.stream(ctx.seed, "pairs", problem_id).permutation(len(distinct))
            for i in order[: self.pairs_per_problem]:
                comparison, upset = self._compare(ctx.seed, *distinct[i])
                made.append(comparison)
                upsets.append(upset)
        write_comparisons(ctx.output("comparisons"), made)
        ctx.count("pairs of equal completions passed over", same, possible)
        ctx.tally("share of comparisons against the gold order", mean(upsets))
        ctx.write_samples(
            {"prompt": c.prompt.last_user, "a": c.a, "b": c.b, "winner": c.winner}
            for c in made[:12]
        )

    def _compare(self, seed: int, x: Sampled, y: Sampled) -> tuple[Comparison, float]:
        """Shown in a random order; and 1.0 if the gold reward says otherwise."""
        key = rng.key(seed, "compare", x.problem.id, x.index, y.index)
        a, b = (x, y) if rng.stream(key, "shown").random() < 0.5 else (y, x)
        winner = self.annotator.compare(x.problem, a.text, b.text, key)
        gap = _gold(x.problem, a.text) - _gold(x.problem, b.text)
        comparison = Comparison(
            prompt=x.problem.prompt,
            a=a.text,
            b=b.text,
            winner=winner,
            annotator=self.annotator.name,
        )
        return comparison, float(winner != "tie" and (gap > 0) != (winner == "a"))


def _gold(problem: Problem, text: str) -> float:
    score = verify_problem(problem, text).score
    return 0.0 if score is None else score
