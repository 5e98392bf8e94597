"""What more training compute buys: a run's snapshots on held-out problems, over what each cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from burnish.config import require, require_counts
from burnish.data.store import read_problems
from burnish.engine.text_model import TextModel
from burnish.errors import DataError
from burnish.models.load import Precision
from burnish.pipeline.artifact import ModelRef, ProblemsRef, SnapshotsRef
from burnish.pipeline.files import read_json
from burnish.pipeline.stage import Context, Work, forwards
from burnish.stages.rl_journal import SPENT_FILE
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws, sample_problems
from burnish.stages.study import write_curves
from burnish.types import Problem
from burnish.verifiers.verify import verify_problem

OPERATIONS = 2
"""Of a forward pass of one token, a parameter: a multiplication and an addition."""
USUAL_SNAPSHOTS = 8
"""Of a run, as a guess for estimates of cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What it took to get to some weights. Operations are 2 N a token that is sampled or scored and
    6 N one that is trained on, N being the model's parameters."""

    step: int
    sampled_tokens: float = 0.0
    trained_tokens: float = 0.0
    scored_tokens: float = 0.0

    def flops(self, num_parameters: int) -> float:
        """Operations in all."""
        spent = forwards(self.sampled_tokens, self.trained_tokens, self.scored_tokens)
        return OPERATIONS * num_parameters * spent


@dataclass(frozen=True, kw_only=True)
class TrainingScaling:
    """RL runs + held-out problems -> accuracy of each snapshot over tokens and operations.

    Every run starts from `start`, and must have kept snapshots (`num_snapshots`).
    """

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves"}

    start: ModelRef
    snapshots: dict[str, SnapshotsRef]
    """Under the names that the report uses."""
    finals: dict[str, ModelRef]
    """The last weights of each of the runs."""
    problems: ProblemsRef
    draws: Draws
    num_problems: int | None = None
    """The first so many; none: all."""
    max_rows: int = 192
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows")
        require(bool(self.snapshots), "snapshots must name at least one run")
        require(
            set(self.snapshots) == set(self.finals), "finals must name the same runs as snapshots"
        )

    def work(self) -> Work:
        rows = (1 + USUAL_SNAPSHOTS * len(self.snapshots)) * (self.num_problems or 200)
        return Work(
            sampled_tokens=0.7 * USUAL_SHARE * rows * self.draws.max_new_tokens,
            scored_tokens=rows * PROMPT_TOKENS,
            seconds=2 * USUAL_SNAPSHOTS * len(self.snapshots),
        )

    def scaled(self, factor: float) -> Self:
        """Held-out measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        first, tokens = self._measured(ctx, ctx.input(self.start), problems)
        rows: list[dict[str, Any]] = []
        for name in self.snapshots:
            rows += [{"run": name, **row} for row in _rows(Spent(step=0), *first)]
            for spent, path in self._weights(ctx, name):
                measured, more = self._measured(ctx, path, problems)
                rows += [{"run": name, **row} for row in _rows(spent, *measured)]
                tokens += more
        write_curves(ctx.output("curves"), rows)
        ctx.spend(sampled_tokens=tokens)
        ctx.write_samples(rows[:: max(len(rows) // 24, 1)])

    def _weights(self, ctx: Context, name: str) -> list[tuple[Spent, Path]]:
        """A run's snapshots in order, and its last weights."""
        kept = ctx.input(self.snapshots[name])
        folders = sorted(kept.glob("step-*"))
        if not folders:
            raise DataError(f"snapshots of {name}: there are none; set num_snapshots of that run")
        final = ctx.input(self.finals[name])
        return [(read_spent(folder), folder) for folder in folders] + [(read_spent(kept), final)]

    def _measured(
        self, ctx: Context, path: Path, problems: list[Problem]
    ) -> tuple[tuple[dict[str, float], int], int]:
        """(problem -> whether solved, parameters), and the tokens it took."""
        text = TextModel.open(path, self.precision, ctx.device)
        sampled, tokens = sample_problems(
            ctx, text, problems, self.draws, num=1, max_rows=self.max_rows
        )
        verdicts = {s.problem.id: verify_problem(s.problem, s.text) for s in sampled}
        solved = {problem: float(bool(v.passed)) for problem, v in verdicts.items()}
        return (solved, num_parameters(text.model)), tokens


def read_spent(folder: Path) -> Spent:
    """What lies beside a snapshot.

    Raises:
        DataError: nothing that can be read does.
    """
    path = folder / SPENT_FILE
    try:
        return Spent(**(read_json(path) or {}))
    except TypeError as error:
        raise DataError(
            f"{path}: does not say what the weights cost; delete the run's stage and run it again"
        ) from error


def num_parameters(model: nn.Module) -> int:
    """Each once: an embedding that is the head too counts as the head."""
    return sum(p.numel() for p in model.parameters())


def _rows(spent: Spent, solved: Mapping[str, float], parameters: int) -> list[dict[str, Any]]:
    return [
        {
            "step": spent.step,
            "problem": problem,
            "right": right,
            "sampled_tokens": spent.sampled_tokens,
            "trained_tokens": spent.trained_tokens,
            "scored_tokens": spent.scored_tokens,
            "flops": spent.flops(parameters),
        }
        for problem, right in solved.items()
    ]
