"""Training compute in the report: held-out accuracy of a run's snapshots over what each cost."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from burnish.evals.scaling_laws import log_linear, saturating
from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_files import Row, RunFiles
from burnish.stages.report_fits import Fitted, fits_table, parameter_html
from burnish.stages.report_markup import (
    Figure,
    Finding,
    Section,
    anchor,
    figures,
    join,
    source_note,
    table,
    tag,
)
from burnish.stages.report_models import coloured, direction
from burnish.stages.report_numbers import COUNT, LARGE, PERCENT, POINTS, Format, Numbers
from burnish.stages.report_scores import by_problem, finite, paired

TERA = 1e12
COMPUTE = Format(decimals=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One set of weights: what it cost and what it solves."""

    step: int
    sampled: float
    trained: float
    teraflops: float
    """Operations so far, 10^12 of them."""
    solved: Mapping[str, float]
    accuracy: Interval
    gain: Interval | None
    """Paired by problem with the start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """One run's snapshots, from its start."""

    stage: str
    name: str
    source: str
    snapshots: tuple[Snapshot, ...]
    fits: tuple[Fitted, ...]


def read_training_scaling(run: RunFiles) -> list[Trained]:
    """Every run whose snapshots were measured, from the raw rows."""
    found = []
    for stage, artifact in run.artifacts("curves"):
        groups: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in run.rows(artifact.path):
            step, flops = finite(row.get("step")), finite(row.get("flops"))
            if "run" in row and step is not None and flops is not None:
                groups[str(row["run"])][int(step)].append(row)
        found += [_trained(stage.name, n, artifact.path, g) for n, g in groups.items()]
    return found


def _trained(stage: str, name: str, source: str, groups: Mapping[int, Sequence[Row]]) -> Trained:
    steps = sorted(groups)
    start = by_problem(groups[steps[0]], "right")
    snapshots = []
    for step in steps:
        rows, solved = groups[step], by_problem(groups[step], "right")
        snapshots.append(
            Snapshot(
                step=step,
                sampled=float(rows[0].get("sampled_tokens", 0)),
                trained=float(rows[0].get("trained_tokens", 0)),
                teraflops=float(rows[0]["flops"]) / TERA,
                solved=solved,
                accuracy=mean_interval(list(solved.values())).within(0, 1),
                gain=paired(solved, start) if step != steps[0] else None,
            )
        )
    fits = tuple(_fits(f"training/{stage}/{name}/fit", source, snapshots))
    return Trained(stage=stage, name=name, source=source, snapshots=tuple(snapshots), fits=fits)


def _fits(at: str, source: str, snapshots: Sequence[Snapshot]) -> list[Fitted]:
    """Of all after the start over their operations; the start is the saturating law's y0."""
    after = snapshots[1:]
    if len(after) < 3 or after[0].teraflops <= 0:
        return []
    shared = [p for p in snapshots[0].solved if all(p in s.solved for s in snapshots)]
    curves = [np.array([s.solved[p] for s in snapshots]) for p in shared]
    x = [s.teraflops for s in after]
    later = [curve[1:] for curve in curves]
    line_law, curve_law = "accuracy = a + b log2(C)", "y0 + (A − y0) / (1 + (x_mid / C)^B)"
    return [
        Fitted.of("log-linear", line_law, f"{at}/line", source, later, log_linear(x)),
        Fitted.of("saturating", curve_law, f"{at}/sigmoid", source, curves, saturating(x)),
    ]


def training_scaling_section(found: Sequence[Trained], numbers: Numbers) -> Section | None:
    """Accuracy over operations and tokens."""
    if not found:
        return None
    intro = tag(
        "p",
        "Each snapshot of a training run on the same held-out problems, over what it had cost by "
        "then. C counts operations in units of 10^12: 2 a parameter for each token sampled or "
        "scored, 6 for each token trained on. Gains are paired by problem with the start; bands "
        "and brackets are over problems and leave out how another seed would have trained.",
    )
    shown = figures([_figure(found)], source_note(*(t.source for t in found)))
    tables = join(_table(trained, numbers) for trained in found)
    return Section(
        id="training-scaling",
        title="Training compute",
        body=intro + shown + tables,
        findings=tuple(_finding(trained, numbers) for trained in found),
    )


def _finding(trained: Trained, numbers: Numbers) -> Finding:
    """What the whole run bought, and what a doubling did."""
    last = trained.snapshots[-1]
    text = Markup("<b>{}</b> took accuracy to {}").format(
        trained.name, _solved_html(trained, last, numbers)
    )
    if last.gain is not None:
        text += Markup(", {} from its start").format(_gain_html(trained, last, numbers))
    slope = trained.fits[0].parameters.get("b") if trained.fits else None
    if slope is not None:
        text += Markup("; a doubling of compute is worth {} by the log-linear fit").format(
            parameter_html(trained.fits[0], "b", slope, numbers)
        )
    css = "info" if last.gain is None else direction(last.gain)
    return Finding(text=text + ".", css=css)


def _key(trained: Trained, snapshot: Snapshot) -> str:
    return f"training/{trained.stage}/{trained.name}/{snapshot.step}"


def _solved_html(trained: Trained, snapshot: Snapshot, numbers: Numbers) -> Markup:
    key = f"{_key(trained, snapshot)}/solved"
    return numbers.interval(key, snapshot.accuracy, PERCENT, trained.source, "over problems")


def _gain_html(trained: Trained, snapshot: Snapshot, numbers: Numbers) -> Markup:
    assert snapshot.gain is not None
    how = f"solved after {snapshot.step} steps minus at the start"
    key = f"{_key(trained, snapshot)}/gain"
    shown = numbers.interval(key, snapshot.gain, POINTS, trained.source, how)
    return coloured(snapshot.gain, shown)


def _figure(found: Sequence[Trained]) -> Figure:
    traces = []
    for number, trained in enumerate(found):
        x, colour = [s.teraflops for s in trained.snapshots], f"@{number}"
        percent = [s.accuracy.times(100) for s in trained.snapshots]
        hover = "%{x:.1f} · 10^12 operations: %{y:.1f} %"
        y = [i.estimate for i in percent]
        traces.append(band(x, percent, colour))
        traces.append(line(x, y, name=trained.name, colour=colour, hover=hover))
    layout = {
        "xaxis": axis("operations so far (10^12)", rangemode="tozero"),
        "yaxis": axis("held-out problems solved (%)", rangemode="tozero"),
    }
    ident = anchor("fig", "training-scaling", found[0].stage)
    return Figure(id=ident, title="Over compute", traces=traces, layout=layout, height=330)


def _table(trained: Trained, numbers: Numbers) -> Markup:
    def row(snapshot: Snapshot) -> list[object]:
        at, source = _key(trained, snapshot), trained.source
        sampled, trained_on = snapshot.sampled, snapshot.trained
        return [
            numbers.show(at, snapshot.step, COUNT, source, "optimiser steps"),
            numbers.show(f"{at}/sampled", sampled, LARGE, source, "tokens sampled so far"),
            numbers.show(f"{at}/trained", trained_on, LARGE, source, "tokens trained on so far"),
            numbers.show(f"{at}/compute", snapshot.teraflops, COMPUTE, source, "10^12 operations"),
            _solved_html(trained, snapshot, numbers),
            _gain_html(trained, snapshot, numbers) if snapshot.gain is not None else "–",
        ]

    head = ["step", "sampled", "trained on", "C (10^12)", "solved", "gain over the start"]
    shown = table(head, map(row, trained.snapshots))
    return tag("h3", trained.name) + shown + fits_table(trained.fits, numbers)
