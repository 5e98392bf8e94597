"""Budget forcing in the report: accuracy over the length of thinking, cut short or made longer."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from burnish.evals.scaling_laws import log_linear
from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_files import Row, RunFiles
from burnish.stages.report_fits import Fitted, fits_table
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
from burnish.stages.report_numbers import PERCENT, POINTS, Format, Numbers
from burnish.stages.report_scores import by_problem, finite, paired

TOKENS = Format(decimals=1)
OWN = ("own", 0)
PARTS = {"cut short": (("cut", "own"), "solid"), "made longer": (("own", "wait"), "dot")}
"""Curves: which points are on one, and how it is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One length of thinking."""

    way: str
    """cut (at a budget), own (the model's own end) or wait (its end taken back)."""
    at: int
    thinking: float
    """Mean tokens."""
    tokens: float
    """Mean tokens of the completion, mark and answer included."""
    solved: Mapping[str, float]
    """Problem -> share of its chains that end in the right answer."""
    accuracy: Interval
    change: Interval | None
    """Paired by problem with the model's own thinking."""

    @property
    def label(self) -> str:
        named = {"cut": f"cut at {self.at} tokens", "own": "as long as it likes"}
        return named.get(self.way, f'"Wait" {self.at} times')


@dataclass(frozen=True, kw_only=True, slots=True)
class Forced:
    """One model's points, from the shortest budget to the most waits."""

    stage: str
    model: str
    source: str
    points: tuple[Point, ...]
    fits: tuple[Fitted, ...]

    def key(self, point: Point) -> str:
        return f"sequential/{self.stage}/{self.model}/{point.way}-{point.at}"


def read_sequential(run: RunFiles) -> list[Forced]:
    """Every budget-forcing measurement of a run, from its raw rows."""
    found = []
    for stage, artifact in run.artifacts("curves"):
        groups: dict[str, dict[tuple[str, int], list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in run.rows(artifact.path):
            at, thinking = finite(row.get("at")), finite(row.get("thinking"))
            if "way" in row and at is not None and thinking is not None and "problem" in row:
                groups[str(row.get("model"))][str(row["way"]), int(at)].append(row)
        found += [_forced(stage.name, m, artifact.path, g) for m, g in groups.items()]
    return found


def _forced(
    stage: str, model: str, source: str, groups: Mapping[tuple[str, int], Sequence[Row]]
) -> Forced:
    own = by_problem(groups[OWN], "right") if OWN in groups else None
    points = tuple(_point(way, at, rows, own) for (way, at), rows in groups.items())
    fits = []
    for name, (ways, _) in PARTS.items():
        part = [p for p in points if p.way in ways]
        shared = [q for q in part[0].solved if all(q in p.solved for p in part)] if part else []
        if len(part) >= 3 and len({p.tokens for p in part}) > 1:
            curves = [np.array([p.solved[q] for p in part]) for q in shared]
            law = log_linear([p.tokens for p in part])
            key = f"sequential/{stage}/{model}/fit/{name}"
            fits.append(Fitted.of(name, "accuracy = a + b log2(tokens)", key, source, curves, law))
    return Forced(stage=stage, model=model, source=source, points=points, fits=tuple(fits))


def _point(way: str, at: int, rows: Sequence[Row], own: Mapping[str, float] | None) -> Point:
    solved = by_problem(rows, "right")
    return Point(
        way=way,
        at=at,
        thinking=sum(float(r["thinking"]) for r in rows) / len(rows),
        tokens=sum(float(r["tokens"]) for r in rows) / len(rows),
        solved=solved,
        accuracy=mean_interval(list(solved.values())).within(0, 1),
        change=paired(solved, own) if own is not None and way != "own" else None,
    )


def sequential_section(found: Sequence[Forced], numbers: Numbers) -> Section | None:
    """Accuracy over the tokens of thinking and answer."""
    if not found:
        return None
    intro = tag(
        "p",
        "Budget forcing (s1, 2501.19393): thinking is cut at a budget and the answer forced, or "
        "its end is taken back and the model thinks on. All points of a problem share a chain of "
        "thinking. Tokens are those of thinking, mark and answer, forced ones too. Changes are "
        "paired by problem with thinking as long as the model likes.",
    )
    shown = figures([_figure(found)], source_note(*(f.source for f in found)))
    tables = join(_table(forced, numbers) for forced in found)
    return Section(
        id="sequential",
        title="Thinking shorter and longer",
        body=intro + shown + tables,
        findings=tuple(f for forced in found for f in _findings(forced, numbers)),
    )


def _findings(forced: Forced, numbers: Numbers) -> list[Finding]:
    """What the shortest thinking and the most waits do to accuracy."""
    return [
        Finding(
            text=Markup(
                "<b>{}</b>, thinking {}, solves {}: {} against thinking as it likes."
            ).format(
                forced.model,
                point.label,
                _accuracy_html(forced, point, numbers),
                _change_html(forced, point, point.change, numbers),
            ),
            css=direction(point.change),
        )
        for point in (forced.points[0], forced.points[-1])
        if point.change is not None
    ]


def _accuracy_html(forced: Forced, point: Point, numbers: Numbers) -> Markup:
    key, how = forced.key(point), "mean over problems"
    return numbers.interval(key, point.accuracy, PERCENT, forced.source, how)


def _change_html(forced: Forced, point: Point, change: Interval, numbers: Numbers) -> Markup:
    how = f"solved with thinking {point.label}, minus as long as it likes"
    key = f"{forced.key(point)}/change"
    shown = numbers.interval(key, change, POINTS, forced.source, how)
    return coloured(change, shown)


def _figure(found: Sequence[Forced]) -> Figure:
    traces = []
    for number, forced in enumerate(found):
        for name, (ways, dash) in PARTS.items():
            part = [p for p in forced.points if p.way in ways]
            x, colour = [p.tokens for p in part], f"@{number}"
            percent = [p.accuracy.times(100) for p in part]
            hover = "%{x:.1f} tokens: %{y:.1f} %"
            traces += [
                band(x, percent, colour),
                line(x, [i.estimate for i in percent], name=f"{forced.model}, {name}",
                     colour=colour, hover=hover, dash=dash),
            ]  # fmt: skip
    layout = {
        "xaxis": axis("tokens per completion", rangemode="tozero"),
        "yaxis": axis("problems solved (%)", rangemode="tozero"),
    }
    ident = anchor("fig", "sequential", found[0].stage)
    return Figure(id=ident, title="Over tokens", traces=traces, layout=layout, height=330)


def _table(forced: Forced, numbers: Numbers) -> Markup:
    def row(point: Point) -> list[object]:
        at, source = forced.key(point), forced.source
        return [
            point.label,
            numbers.show(f"{at}/thinking", point.thinking, TOKENS, source, "mean of thinking"),
            numbers.show(f"{at}/tokens", point.tokens, TOKENS, source, "mean tokens in all"),
            _accuracy_html(forced, point, numbers),
            "–" if point.change is None else _change_html(forced, point, point.change, numbers),
        ]

    head = ["thinking", "its tokens", "tokens in all", "solved", "paired change"]
    return (
        tag("h3", forced.model)
        + table(head, map(row, forced.points))
        + fits_table(forced.fits, numbers)
    )
