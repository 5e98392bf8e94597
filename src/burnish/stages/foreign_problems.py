"""The rows of somebody's environment as problems."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from burnish.config import require_counts
from burnish.data.splits import prompt_key, split
from burnish.data.store import write_problems
from burnish.envs.foreign import ForeignEnv, foreign_problem
from burnish.errors import ConfigError
from burnish.pipeline.stage import Context


@runtime_checkable
class WithRows(Protocol):
    """An environment with a data set."""

    @property
    def dataset(self) -> Iterable[Mapping[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class ForeignProblems:
    """An environment's data set -> problems; held-out prompts apart."""

    outputs: ClassVar[Mapping[str, str]] = {"train": "problems", "heldout": "problems"}

    env: ForeignEnv
    """The same as that of the stages that play."""
    num_heldout: int
    """At least so many rows; those of one prompt stay together."""

    def __post_init__(self) -> None:
        require_counts(self, "num_heldout")

    def run(self, ctx: Context) -> None:
        opened = self.env.opened()
        if not isinstance(opened, WithRows):
            raise ConfigError(f"env.target={self.env.target}: has no `dataset` of rows")
        rows = enumerate(opened.dataset, start=1)
        problems = [foreign_problem(row, f"{self.env.target}, row {i}") for i, row in rows]
        train, heldout = split(problems, key=prompt_key, heldout=self.num_heldout, seed=ctx.seed)
        write_problems(ctx.output("train"), train)
        write_problems(ctx.output("heldout"), heldout)
        ctx.tally("problems to train on", len(train))
        ctx.tally("problems held out", len(heldout))
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "answer": p.answer, "meta": p.meta} for p in problems[:8]
        )
