"""Tiny stages: a graph without models, for tests of the pipeline."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from burnish.config import require
from burnish.errors import Interrupted
from burnish.pipeline.artifact import ModelRef, ProblemsRef, RewardModelRef, ScoresRef
from burnish.pipeline.stage import Context, Work


@dataclass(frozen=True, kw_only=True)
class Source:
    """Writes `rows` problems; reads `file` if there is one."""

    outputs: ClassVar[Mapping[str, str]] = {"problems": "problems", "model": "model"}
    rows: int = 3
    file: str = ""

    def __post_init__(self) -> None:
        require(self.rows > 0, f"rows={self.rows} must be positive")

    def fingerprint(self) -> str:
        return Path(self.file).read_text() if self.file else ""

    def run(self, ctx: Context) -> None:
        rows = "".join(json.dumps({"n": i, "seed": ctx.seed}) + "\n" for i in range(self.rows))
        ctx.output("problems").write_text(rows)
        ctx.output("model").mkdir()
        (ctx.output("model") / "weights").write_text("base")
        ctx.count("too long", 1, of=4)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """An algorithm with one knob."""

    lr: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Fancy:
    """Another, with a reference inside."""

    beta: float = 0.5
    judge: RewardModelRef | None = None


@dataclass(frozen=True, kw_only=True)
class Train:
    """Adds one line a step; checkpoints each step; can kill itself once, between two steps."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}
    model: ModelRef
    problems: tuple[ProblemsRef, ...] = ()
    algorithm: Plain | Fancy = Plain()
    steps: int = 4
    kill_at: int = -1
    how: Literal["KILL", "TERM", "INT"] = "KILL"

    def work(self) -> Work:
        return Work(trained_tokens=100.0 * self.steps)

    def scaled(self, factor: float) -> Self:
        return replace(self, steps=max(1, round(self.steps * factor)))

    def run(self, ctx: Context) -> None:
        checkpoint, killed = ctx.checkpoints / "lines", ctx.checkpoints / "killed"
        lines = checkpoint.read_text().split() if checkpoint.exists() else []
        ctx.metrics.rewind(len(lines))
        progress = ctx.progress(self.steps, "step")
        for step in range(len(lines), self.steps):
            if ctx.stopping():
                raise Interrupted
            if step == self.kill_at and not killed.exists():
                killed.touch()
                ctx.metrics.write(step, {"train/loss": 99.0})  # past the checkpoint
                os.kill(os.getpid(), signal.Signals[f"SIG{self.how}"])
                if ctx.stopping():
                    raise Interrupted
            lines.append(f"{step}:{ctx.seed % 97}")
            ctx.metrics.write(step, {"train/loss": 1.0 / (step + 1)})
            checkpoint.write_text(" ".join(lines))
            progress.update(step + 1, f"loss {1 / (step + 1):.2f}")
        ctx.spend(trained_tokens=100 * self.steps)
        out = ctx.output("model")
        out.mkdir()
        (out / "weights").write_text(
            (ctx.input(self.model) / "weights").read_text() + "|" + " ".join(lines)
        )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores named models."""

    outputs: ClassVar[Mapping[str, str]] = {"scores": "scores"}
    models: dict[str, ModelRef]
    baseline: ScoresRef | None = None

    def run(self, ctx: Context) -> None:
        sizes = {k: len((ctx.input(r) / "weights").read_text()) for k, r in self.models.items()}
        ctx.output("scores").write_text(json.dumps(sizes))
        ctx.write_samples([{"models": sorted(sizes)}])
        ctx.note("all judged")


@dataclass(frozen=True, kw_only=True)
class Forgetful:
    """Promises an output that it never writes."""

    outputs: ClassVar[Mapping[str, str]] = {"report": "report"}

    def run(self, ctx: Context) -> None:
        ctx.tally("asked", 1)


REGISTRY = {
    name: f"{__name__}:{cls.__name__}"
    for name, cls in {
        "source": Source,
        "train": Train,
        "judge": Judge,
        "forgetful": Forgetful,
    }.items()
}

YAML = """\
name: tiny
seed: 7
stages:
  base:
    stage: source
    rows: 2
  sft:
    stage: train
    model: base.model
    problems: [base.problems]
    algorithm:
      fancy: {beta: 1e-1}
  rl:
    stage: train
    model: sft.model
    steps: 3
  judge:
    stage: judge
    models: {sft: sft.model, rl: rl.model}
sources:
  sft.steps: "ours: enough to see it move"
"""
