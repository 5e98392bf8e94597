"""What the rows of Evaluate stages say: each model on each task, paired with where it started.

Problems are the unit: several completions of one problem are averaged first. A row without a
score is left out of every mean, and counted. The same task under two decodings is two suites.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.evals.stats import Interval, mean_interval, paired_interval
from burnish.stages.report_files import Row, RunFiles, StageFiles

CONTROL = "_control"
"""A model called X_control is the matched control of model X."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One model in one suite. `values` is one mean a problem."""

    model: str
    key: str
    """Stage, task and model: the id of its numbers."""
    made_by: str
    """The stage whose output the model is, where that is known."""
    source: str
    binary: bool
    largest: float
    """The largest absolute mean of the suite, over all models."""
    values: Mapping[str, float]
    unscored: int
    truncated: float
    """Share of completions that ended at the length limit."""
    tokens: float
    """Mean tokens of a completion."""
    mean: Interval
    gain: Interval | None
    """Paired with the model it is compared with; None for the first."""
    against: str
    over_control: Interval | None
    """Paired with its matched control, where there is one."""
    proxy: Interval | None
    kl: Interval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """One task in one Evaluate stage."""

    stage: str
    task: str
    decoding: str
    label: str
    """The task, with what tells it from other suites of the same task."""
    start: str
    """The model that the others are paired with."""
    cells: Mapping[str, Cell]
    rows: Mapping[str, Sequence[Row]]

    @property
    def is_landscape(self) -> bool:
        """Whether rows have a proxy reward or a KL."""
        return any(c.proxy or c.kl for c in self.cells.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """All suites of a run, and all models in the order in which they appear."""

    models: tuple[str, ...]
    suites: tuple[Suite, ...]

    def firsts(self) -> list[Suite]:
        """The first suite of each task."""
        return list({suite.task: suite for suite in reversed(self.suites)}.values())[::-1]


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
    groups: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    origins: dict[str, tuple[StageFiles, str]] = {}
    for stage, source, row in score_rows(run):
        groups[stage.name, str(row["task"])][str(row["model"])].append(row)
        origins[stage.name] = (stage, source)
    if not groups:
        return None
    tasks = Counter(task for _, task in groups)
    ways = Counter((task, _decoding(origins[name][0])) for name, task in groups)
    suites = []
    for (name, task), rows in groups.items():
        stage, source = origins[name]
        decoding = _decoding(stage)
        told_apart = decoding if decoding and ways[task, decoding] == 1 else name
        label = task if tasks[task] == 1 else f"{task} ({told_apart})"
        suites.append(_suite(run, stage, task, rows, source=source, label=label))
    models = tuple(dict.fromkeys(m for rows in groups.values() for m in rows))
    return Scores(models=models, suites=tuple(suites))


def _decoding(stage: StageFiles) -> str:
    """How the stage sampled, as far as its `draws` say; "" where they do not."""
    draws = stage.config.get("draws")
    temperature = finite(draws.get("temperature")) if isinstance(draws, Mapping) else None
    if temperature is None:
        return ""
    return f"temperature {temperature:g}" if temperature else "greedy"


def _suite(
    run: RunFiles,
    stage: StageFiles,
    task: str,
    rows: Mapping[str, Sequence[Row]],
    *,
    source: str,
    label: str,
) -> Suite:
    binary = is_binary([row for found in rows.values() for row in found])
    values = {m: by_problem(r, "passed" if binary else "score") for m, r in rows.items()}
    makers = {model: _maker(stage, model) for model in rows}
    start = _start(run, makers)
    largest = max(_size(v) for v in values.values())
    cells = {
        model: _cell(
            model,
            found,
            f"{stage.name}/{task}/{model}",
            origin=(makers[model], source),
            scale=(binary, largest),
            values=values,
            against=_against(model, list(rows), start),
        )
        for model, found in rows.items()
    }
    return Suite(
        stage=stage.name,
        task=task,
        decoding=_decoding(stage),
        label=label,
        start=start,
        cells=cells,
        rows=rows,
    )


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


def _size(values: Mapping[str, float]) -> float:
    return abs(sum(values.values())) / len(values) if values else 0.0


def _start(run: RunFiles, makers: Mapping[str, str]) -> str:
    """The first model that supervised fine-tuning made, else the one called sft, else the first."""
    for stage in run.stages:
        made = [m for m, maker in makers.items() if maker == stage.name]
        if stage.type == "sft" and made:
            return made[0]
    return "sft" if "sft" in makers else next(iter(makers))


def _against(model: str, models: Sequence[str], start: str) -> str:
    """What a model is compared with: the start; the start itself with the first model."""
    if model == start:
        return models[0] if models[0] != start else ""
    return "" if model == models[0] else start


def _maker(stage: StageFiles, model: str) -> str:
    """The stage that an Evaluate stage's field `models` names for a model; else of its name."""
    listed = stage.config.get("models")
    ref = listed.get(model) if isinstance(listed, Mapping) else None
    return ref.partition(".")[0] if isinstance(ref, str) else model


def _cell(
    model: str,
    rows: Sequence[Row],
    key: str,
    *,
    origin: tuple[str, str],
    scale: tuple[bool, float],
    values: Mapping[str, Mapping[str, float]],
    against: str,
) -> Cell:
    own, other, control = values[model], values.get(against), values.get(model + CONTROL)
    proxy, kl = by_problem(rows, "proxy"), by_problem(rows, "kl")
    tokens = [t for r in rows if (t := finite(r.get("tokens"))) is not None]
    return Cell(
        model=model,
        key=key,
        made_by=origin[0],
        source=origin[1],
        binary=scale[0],
        largest=scale[1],
        values=own,
        unscored=sum(r.get("score") is None for r in rows),
        truncated=sum(r.get("finish") == "length" for r in rows) / len(rows),
        tokens=sum(tokens) / len(tokens) if tokens else math.nan,
        mean=mean_interval(list(own.values())),
        gain=paired(own, other) if other else None,
        against=against if other else "",
        over_control=paired(own, control) if control else None,
        proxy=mean_interval(list(proxy.values()), binary=False) if proxy else None,
        kl=mean_interval(list(kl.values()), binary=False) if kl else None,
    )
