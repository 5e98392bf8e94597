"""Problems of several sets as one: RL with verifiable rewards on mathematics, code and instructions
at once (Tulu 3, 2411.15124, section 6; OLMo 3, 2512.13961).

Each problem keeps its task, and so its verifier. The order is random, since what reads problems
takes them from the front.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish import rng
from burnish.config import require
from burnish.data.store import read_problems, write_problems
from burnish.errors import DataError
from burnish.pipeline.artifact import ProblemsRef
from burnish.pipeline.stage import Context
from burnish.types import Problem


@dataclass(frozen=True, kw_only=True)
class MixProblems:
    """Several sets of problems -> one, in random order."""

    outputs: ClassVar[Mapping[str, str]] = {"problems": "problems"}

    problems: tuple[ProblemsRef, ...]
    counts: tuple[int, ...] | None = None
    """Problems of each set, drawn at random; none: all of them."""

    def __post_init__(self) -> None:
        require(bool(self.problems), "problems must name at least one set")
        if self.counts is not None:
            require(
                len(self.counts) == len(self.problems),
                f"counts: {len(self.counts)} given for {len(self.problems)} sets of problems",
            )
            require(all(n >= 1 for n in self.counts), "counts must be at least 1")

    def run(self, ctx: Context) -> None:
        kept: dict[str, Problem] = {}
        total = 0
        for place, ref in enumerate(self.problems):
            found = read_problems(ctx.input(ref))
            wanted = len(found) if self.counts is None else self.counts[place]
            if wanted > len(found):
                raise DataError(
                    f"counts: {wanted} problems of {ref} are asked for, and it has {len(found)}"
                )
            order = rng.stream(ctx.seed, "draw", place).permutation(len(found))[:wanted]
            total += wanted
            kept |= {p.id + p.meta: p for p in (found[i] for i in sorted(order.tolist()))}
            ctx.tally(f"problems of {ref}", wanted)
        ctx.count("problems that several sets have, kept once", total - len(kept), total)
        items = list(kept.values())
        mixed = [items[i] for i in rng.stream(ctx.seed, "mix").permutation(len(items))]
        write_problems(ctx.output("problems"), mixed)
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "answer": p.answer, "meta": p.meta} for p in mixed[:8]
        )
