"""Quality over the number of demonstrations: models tuned on nested portions of the same set."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from burnish.evals.scaling_laws import log_linear
from burnish.evals.stats import Interval
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_files import RunFiles, StageFiles
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
from burnish.stages.report_numbers import COUNT, PERCENT, POINTS, Numbers, score_format
from burnish.stages.report_scores import Cell, Scores, Suite, paired

_PORTION = re.compile(r"(\w+)\.first_(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Portions:
    """One suite's models by how many demonstrations each had, from none."""

    suite: Suite
    cells: Mapping[int, Cell]
    gains: Mapping[int, Interval]
    """Over the model with the next smaller portion, paired by problem."""
    fit: Fitted | None

    @property
    def key(self) -> str:
        return f"examples/{self.suite.stage}/{self.suite.task}"


def read_portions(run: RunFiles, scores: Scores | None) -> list[Portions]:
    """Suites in which at least two models were tuned on portions of one set."""
    found = []
    for suite in scores.suites if scores is not None else ():
        sizes = {
            size: cell
            for cell in suite.cells.values()
            if (size := _size(run, run.stage(cell.made_by))) is not None
        }
        if len([size for size in sizes if size > 0]) >= 2:
            found.append(_portions(suite, dict(sorted(sizes.items()))))
    return found


def _size(run: RunFiles, maker: StageFiles | None) -> int | None:
    """Demonstrations that a model was tuned on: none where it was only loaded."""
    if maker is None:
        return None
    if maker.type == "load_model":
        return 0
    data = maker.config.get("data")
    if maker.type != "sft" or not isinstance(data, list) or len(data) != 1:
        return None
    match = _PORTION.fullmatch(str(data[0]))
    source = run.stage(match[1]) if match else None
    return int(match[2]) if match and source and source.type == "nested_subsets" else None


def _portions(suite: Suite, cells: Mapping[int, Cell]) -> Portions:
    sizes = list(cells)
    gains = {
        size: paired(cells[size].values, cells[smaller].values) for smaller, size in pairwise(sizes)
    }
    tuned = [size for size in sizes if size > 0]
    fit = None
    if len(tuned) >= 3:
        shared = [p for p in cells[tuned[0]].values if all(p in cells[s].values for s in tuned)]
        curves = [np.array([cells[s].values[p] for s in tuned]) for p in shared]
        key = f"examples/{suite.stage}/{suite.task}/fit"
        source, law = cells[tuned[0]].source, "score = a + b log2(examples)"
        fit = Fitted.of("score", law, key, source, curves, log_linear(tuned))
    return Portions(suite=suite, cells=cells, gains=gains, fit=fit)


def examples_section(found: Sequence[Portions], numbers: Numbers) -> Section | None:
    """Held-out scores over the number of demonstrations."""
    if not found:
        return None
    intro = tag(
        "p",
        "Models tuned on ever more of the same demonstrations, each portion within the next "
        "(LIMA, 2305.11206, asks how few suffice). Gains are over the next smaller portion, paired "
        "by problem; intervals are over problems and leave out how another choice of examples or "
        "another seed would have turned out.",
    )
    shown = figures([_figure(p) for p in found])
    body = intro + shown + join(_table(p, numbers) for p in found)
    return Section(
        id="examples",
        title="How many demonstrations",
        body=body,
        findings=tuple(f for p in found for f in _findings(p, numbers)),
    )


def _findings(portions: Portions, numbers: Numbers) -> list[Finding]:
    """What the first portion bought over none, and what a doubling of it did."""
    said = []
    sizes = list(portions.cells)
    if sizes[0] == 0:
        gain = portions.gains[sizes[1]]
        text = Markup("{} demonstrations change {} by {}.").format(
            numbers.show(f"{portions.key}/{sizes[1]}/size", sizes[1], COUNT,
                         portions.cells[sizes[1]].source, "demonstrations tuned on"),
            portions.suite.label,
            _gain_html(portions, sizes[1], numbers),
        )  # fmt: skip
        said.append(Finding(text=text, css=direction(gain)))
    slope = portions.fit.parameters.get("b") if portions.fit else None
    if portions.fit is not None and slope is not None:
        shown = parameter_html(portions.fit, "b", slope, numbers)
        text = Markup("A doubling of the demonstrations is worth {} by the log-linear fit.")
        said.append(Finding(text=text.format(shown), css=direction(slope)))
    return said


def _gain_html(portions: Portions, size: int, numbers: Numbers) -> Markup:
    cell, gain = portions.cells[size], portions.gains[size]
    signed = POINTS if cell.binary else score_format(cell.largest, signed=True)
    how = f"{cell.model} minus the next smaller portion on the same problems"
    key = f"{portions.key}/{size}/gain"
    value = numbers.interval(key, gain, signed, cell.source, how)
    return coloured(gain, value)


def _figure(portions: Portions) -> Figure:
    tuned = [(size, cell) for size, cell in portions.cells.items() if size > 0]
    x, binary = [float(size) for size, _ in tuned], tuned[0][1].binary
    scaled = [cell.mean.times(100 if binary else 1) for _, cell in tuned]
    y = [i.estimate for i in scaled]
    hover = "%{x} examples: %{y:.3g}"
    traces = [band(x, scaled, "@0"), line(x, y, name="tuned", colour="@0", hover=hover)]
    layout = {
        "xaxis": axis("demonstrations", type="log", dtick="D2"),
        "yaxis": axis("problems passed (%)" if binary else "mean score"),
    }
    ident = anchor("fig", "examples", portions.suite.stage, portions.suite.task)
    title = portions.suite.label
    return Figure(id=ident, title=title, traces=traces, layout=layout, height=300)


def _table(portions: Portions, numbers: Numbers) -> Markup:
    def row(size: int, cell: Cell) -> list[object]:
        at = f"{portions.key}/{size}"
        form = PERCENT if cell.binary else score_format(cell.largest)
        return [
            numbers.show(f"{at}/size", size, COUNT, cell.source, "demonstrations tuned on"),
            cell.model,
            numbers.interval(at, cell.mean, form, cell.source, "mean over problems"),
            _gain_html(portions, size, numbers) if size in portions.gains else "–",
        ]

    head = ["demonstrations", "model", "score", "gain over the next smaller"]
    rows = (row(size, cell) for size, cell in portions.cells.items())
    note = source_note(*(c.source for c in portions.cells.values()))
    fits = fits_table([portions.fit] if portions.fit else [], numbers)
    return tag("h3", portions.suite.label) + table(head, rows, note=note) + fits
