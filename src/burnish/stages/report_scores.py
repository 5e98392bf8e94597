"""What the rows of Evaluate stages say: each model on each task, paired with where it started.

Problems are the unit: several completions of one problem are averaged first. A row without a
score is left out of every mean, and counted.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.evals.stats import Interval, mean_interval, paired_interval
from burnish.stages.report_files import Row, RunFiles, StageFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One model on one task. `values` is one mean a problem."""

    model: str
    task: str
    made_by: str
    """The stage whose output the model is, where that is known."""
    source: str
    binary: bool
    largest: float
    """The largest absolute mean of the task, over all models."""
    values: Mapping[str, float]
    completions: int
    unscored: int
    truncated: float
    """Share of completions that ended at the length limit."""
    tokens: float
    """Mean tokens of a completion."""
    mean: Interval
    gain: Interval | None
    """Paired with the model it is compared with; None for that model itself."""
    against: str
    proxy: Interval | None
    kl: Interval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """All cells and the rows they came from. `starts`: task -> the model others are paired with."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    starts: Mapping[str, str]
    cells: Mapping[tuple[str, str], Cell]
    rows: Mapping[tuple[str, str], Sequence[Row]]

    def of_task(self, task: str) -> list[Cell]:
        """The task's cells in the order of the models."""
        return [self.cells[m, task] for m in self.models if (m, task) in self.cells]


def score_rows(run: RunFiles) -> list[tuple[StageFiles, str, Row]]:
    """All evaluation rows of a run, each with its stage and the path of its file."""
    return [
        (stage, artifact.path, row)
        for stage, artifact in run.artifacts("scores")
        for row in run.rows(artifact.path)
        if "model" in row and "task" in row
    ]


def read_scores(run: RunFiles) -> Scores | None:
    """Summarise every evaluation of a run; None where it has none."""
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    sources: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    makers: dict[str, str] = {}
    for stage, source, row in score_rows(run):
        at = (str(row["model"]), str(row["task"]))
        rows[at].append(row)
        sources[at][source] = None
        makers[at[0]] = _maker(stage, at[0])
    if not rows:
        return None
    models = tuple(dict.fromkeys(m for m, _ in rows))
    tasks = tuple(dict.fromkeys(t for _, t in rows))
    starts = {t: _start(run, [m for m in models if (m, t) in rows], makers) for t in tasks}
    values: dict[tuple[str, str], dict[str, float]] = {}
    binary = {t: is_binary([r for (_, u), rs in rows.items() if u == t for r in rs]) for t in tasks}
    for at, found in rows.items():
        values[at] = by_problem(found, "passed" if binary[at[1]] else "score")
    cells = {}
    for at, found in rows.items():
        against = _against(at, rows, starts[at[1]])
        cells[at] = _cell(
            at,
            found,
            origin=(makers[at[0]], ", ".join(sources[at])),
            binary=binary[at[1]],
            largest=max(_size(v) for other, v in values.items() if other[1] == at[1]),
            values=values[at],
            other=(against, values.get((against, at[1]))),
        )
    return Scores(models=models, tasks=tasks, starts=starts, cells=cells, rows=rows)


def _size(values: Mapping[str, float]) -> float:
    return abs(sum(values.values())) / len(values) if values else 0.0


def is_binary(rows: Sequence[Row]) -> bool:
    """Whether every scored row says passed or not, so that the mean is an accuracy."""
    return all(isinstance(r.get("passed"), bool) for r in rows if r.get("score") is not None)


def by_problem(rows: Sequence[Row], key: str, name: str = "problem") -> dict[str, float]:
    """Problem -> the mean of `key` over its scored rows."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = finite(row.get(key))
        if value is not None and row.get("score", 0) is not None:
            found[str(row.get(name))].append(value)
    return {problem: sum(v) / len(v) for problem, v in found.items()}


def finite(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    return None


def paired(a: Mapping[str, float], b: Mapping[str, float]) -> Interval:
    """The mean of a - b over the problems that both have."""
    shared = [p for p in a if p in b]
    return paired_interval([a[p] for p in shared], [b[p] for p in shared])


def _start(run: RunFiles, models: Sequence[str], makers: Mapping[str, str]) -> str:
    """The first model that supervised fine-tuning made, else the one called sft, else the first."""
    for stage in run.stages:
        made = [m for m in models if makers[m] == stage.name]
        if stage.type == "sft" and made:
            return made[0]
    return "sft" if "sft" in models else models[0]


def _against(at: tuple[str, str], cells: Iterable[tuple[str, str]], start: str) -> str:
    """What a model is compared with: the start; the start itself with the task's first model."""
    first = next(model for model, task in cells if task == at[1])
    if at[0] == start:
        return first if first != start else ""
    return "" if at[0] == first else start


def _maker(stage: StageFiles, model: str) -> str:
    """The stage that an Evaluate stage's field `models` names for a model; else of its name."""
    listed = stage.config.get("models")
    ref = listed.get(model) if isinstance(listed, Mapping) else None
    return ref.partition(".")[0] if isinstance(ref, str) else model


def _cell(
    at: tuple[str, str],
    rows: Sequence[Row],
    *,
    origin: tuple[str, str],
    binary: bool,
    largest: float,
    values: Mapping[str, float],
    other: tuple[str, Mapping[str, float] | None],
) -> Cell:
    proxy, kl = by_problem(rows, "proxy"), by_problem(rows, "kl")
    tokens = [t for r in rows if (t := finite(r.get("tokens"))) is not None]
    return Cell(
        model=at[0],
        task=at[1],
        made_by=origin[0],
        source=origin[1],
        binary=binary,
        largest=largest,
        values=values,
        completions=len(rows),
        unscored=sum(r.get("score") is None for r in rows),
        truncated=sum(r.get("finish") == "length" for r in rows) / len(rows),
        tokens=sum(tokens) / len(tokens) if tokens else math.nan,
        mean=mean_interval(list(values.values())),
        gain=paired(values, other[1]) if other[1] else None,
        against=other[0] if other[1] else "",
        proxy=mean_interval(list(proxy.values()), binary=False) if proxy else None,
        kl=mean_interval(list(kl.values()), binary=False) if kl else None,
    )
