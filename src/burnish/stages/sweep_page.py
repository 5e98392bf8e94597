"""The page of a sweep: for each metric one figure and one table, and the check of both.

A point is one variant's mean over its problems; the interval of a setting is Student's t over its
seeds, so it covers what another seed would change and not only which problems were asked.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from markupsafe import Markup

from burnish.errors import RunError
from burnish.evals.stats import Interval, mean_interval
from burnish.pipeline.files import write_atomic, write_json
from burnish.stages.report_check import differing_numbers, differing_page, wrong_files
from burnish.stages.report_figures import Trace, axis, line
from burnish.stages.report_files import read_run
from burnish.stages.report_markup import (
    EMPTY,
    Figure,
    Section,
    anchor,
    figures,
    join,
    plot_text,
    table,
    tag,
)
from burnish.stages.report_numbers import COUNT, Numbers, score_format
from burnish.stages.report_page import page
from burnish.stages.sweep import Axis, Point, Sweep, is_finished, points, settings_text

HTML, NUMBERS = "sweep.html", "sweep.json"
WIDE = 4.0
"""Values this far apart, as a ratio, are spread by their logarithms."""
SPREAD = 0.012
"""Of the axis, between the points of one setting, so that equal ones are all seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPage:
    """In memory, with the numbers on it."""

    html: str
    numbers: Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The points of one combination of values."""

    values: tuple[str, ...]
    points: Sequence[Point]

    @property
    def interval(self) -> Interval:
        return mean_interval([p.value for p in self.points], binary=False)


def write_sweep(folder: Path) -> Path:
    """Write sweep.html and sweep.json from the variants' files. Raises: RunError."""
    built = build_sweep(folder)
    write_json(folder / NUMBERS, built.numbers.to_json())
    write_atomic(folder / HTML, built.html)
    return folder / HTML


def build_sweep(folder: Path) -> SweepPage:
    """The same files give the same page."""
    sweep, numbers = Sweep.read(folder), Numbers()
    found = points(sweep, folder)
    done = sum(is_finished(folder / v.folder) for v in sweep.variants)
    head = join(
        [
            tag("h1", f"Sweep of {sweep.name}"),
            tag("p", "over " + "; ".join(f"{a.key}: {', '.join(a.values)}" for a in sweep.axes)),
            tag(
                "p",
                Markup("{} of {} variants have finished.").format(
                    numbers.show("variants/finished", done, COUNT, "", "variants with all stages"),
                    numbers.show("variants", len(sweep.variants), COUNT, "", "settings and seeds"),
                ),
            ),
        ]
    )
    sections = [_section(sweep, metric, found[metric], numbers) for metric in sweep.metrics]
    sections.append(_runs(sweep))
    generator = f"burnish {metadata.version('burnish')}"
    return SweepPage(
        html=page(f"sweep of {sweep.name}", generator, head, sections, numbers), numbers=numbers
    )


def grouped(sweep: Sweep, found: Sequence[Point]) -> list[Setting]:
    """Points by setting, in the grid's order; settings without any are left out."""
    groups: dict[tuple[str, ...], list[Point]] = {}
    for variant in sweep.variants:
        groups.setdefault(tuple(variant.settings.values()), [])
    for point in found:
        groups[tuple(point.variant.settings.values())].append(point)
    return [Setting(values=v, points=tuple(p)) for v, p in groups.items() if p]


def _section(sweep: Sweep, metric: str, found: Sequence[Point], numbers: Numbers) -> Section:
    settings = grouped(sweep, found)
    if not settings:
        body = tag("p", "No variant has it yet.")
        return Section(id=anchor(metric), title=metric, body=body)
    form = score_format(max(abs(p.value) for p in found))
    rows = []
    for setting in settings:
        text = settings_text(setting.points[0].variant.settings)
        key, source = f"{metric}/{text}", setting.points[0].source
        each = [
            numbers.show(
                f"{key}/seed {p.variant.seed}", p.value, form, p.source, f"{metric} of one variant"
            )
            for p in setting.points
        ]
        over = numbers.interval(key, setting.interval, form, source, "mean over seeds")
        rows.append([*setting.values, over, Markup(" ").join(each)])
    head = [*(a.key for a in sweep.axes), "mean over seeds [95 % interval]", "each seed"]
    shown = figures([_figure(sweep, metric, settings)], css="wide")
    return Section(id=anchor(metric), title=metric, body=shown + table(head, rows))


def _figure(sweep: Sweep, metric: str, settings: Sequence[Setting]) -> Figure:
    """Along the first axis; a line for each combination of the others."""
    first, places = sweep.axes[0], _places(sweep.axes[0])
    lines: dict[tuple[str, ...], list[Setting]] = {}
    for setting in settings:
        lines.setdefault(setting.values[1:], []).append(setting)
    traces: list[Trace] = []
    for number, (rest, along) in enumerate(lines.items()):
        along = sorted(along, key=lambda s: places[s.values[0]])
        pairs = zip(sweep.axes[1:], rest, strict=True)
        name = ", ".join(f"{a.key} = {v}" for a, v in pairs) or metric
        traces += _traces(along, places, name, f"@{number % 8}")
    ticks = {"tickvals": list(places.values()), "ticktext": [plot_text(v) for v in places]}
    return Figure(
        id=f"figure-{anchor(metric)}",
        title=metric,
        traces=traces,
        layout={
            "xaxis": axis(first.key, **ticks),
            "yaxis": axis(metric.rpartition(".")[2]),
            "showlegend": len(lines) > 1,
        },
        caption="Line: mean over seeds with its 95 % interval (Student's t). Small: each seed.",
        height=340,
    )


def _traces(
    along: Sequence[Setting], places: dict[str, float], name: str, colour: str
) -> list[Trace]:
    xs = [places[s.values[0]] for s in along]
    intervals = [s.interval for s in along]
    mean = dict(
        line(xs, [i.estimate for i in intervals], name=name, colour=colour, hover="%{y:.4g}")
    )
    mean["error_y"] = {
        "type": "data",
        "symmetric": False,
        "array": [i.high - i.estimate if math.isfinite(i.high) else 0.0 for i in intervals],
        "arrayminus": [i.estimate - i.low if math.isfinite(i.low) else 0.0 for i in intervals],
        "color": f"{colour}/0.6",
        "width": 4,
    }
    width = (max(places.values()) - min(places.values())) or 1.0
    raw = [
        (places[s.values[0]] + SPREAD * width * (i - (len(s.points) - 1) / 2), p)
        for s in along
        for i, p in enumerate(s.points)
    ]
    seeds: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [x for x, _ in raw],
        "y": [p.value for _, p in raw],
        "text": [f"seed {p.variant.seed}" for _, p in raw],
        "marker": {"size": 5, "color": f"{colour}/0.45"},
        "hovertemplate": "%{text}: %{y:.4g}<extra></extra>",
        "showlegend": False,
    }
    return [mean, seeds]


def _places(first: Axis) -> dict[str, float]:
    """Where each value stands: by its size, by its logarithm, or, for words, one after another."""
    try:
        sizes = [float(v) for v in first.values]
    except ValueError:
        return {v: float(i) for i, v in enumerate(first.values)}
    if min(sizes) > 0 and max(sizes) / min(sizes) >= WIDE:
        return {v: math.log10(s) for v, s in zip(first.values, sizes, strict=True)}
    return dict(zip(first.values, sizes, strict=True))


def _runs(sweep: Sweep) -> Section:
    rows = [[settings_text(v.settings), str(v.seed), tag("code", v.folder)] for v in sweep.variants]
    body = table(["settings", "seed", "run"], rows) if rows else EMPTY
    return Section(id="runs", title="Runs", body=body)


def check_sweep(folder: Path) -> list[str]:
    """What is wrong with a sweep's page, numbers and runs, one line each."""
    try:
        html = (folder / HTML).read_bytes().decode("utf-8")
        said = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return [f"{error.filename}: missing; write it first: burnish report {folder}"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        return [f"{folder}: the page cannot be read ({error}); write it again"]
    try:
        sweep, built = Sweep.read(folder), build_sweep(folder)
    except RunError as error:
        return [f"the page cannot be made again: {error}"]
    wrong = []
    for variant in sweep.variants:
        if is_finished(folder / variant.folder):
            found = wrong_files(read_run(folder / variant.folder))
            wrong += [f"{variant.folder}/{text}" for text in found]
    wrong += differing_numbers(said, built.numbers, NUMBERS)
    return wrong + differing_page(html, built.html, built.numbers, HTML)
