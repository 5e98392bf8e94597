"""Panels as light SVG files: curves with ranges, with the same numbers as tables, and others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from burnish.bench.spread import Spread
from burnish.cli.table import table

COLOURS = ("#1f6feb", "#d1571a", "#1a7f37", "#8250df")
INK, LINES, PAPER = "#24292f", "#d8dee4", "#ffffff"
LIMIT = "#6e7781"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters: small, and searchable
    "svg.hashsalt": "burnish",  # the same numbers give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINES,
    "xtick.color": INK,
    "ytick.color": INK,
}


Draw = Callable[[Axes], None]
"""Fills one panel."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Measurements along an axis; a limit is computed, and drawn dashed."""

    name: str
    values: Sequence[Spread]
    limit: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines over the same places of an axis, which is logarithmic unless `linear`."""

    title: str
    x: str
    y: str
    places: Sequence[float]
    lines: Sequence[Line]
    linear: bool = False
    log: bool = False
    """The y axis is logarithmic too; else it starts at zero."""


def rows(panel: Panel) -> list[list[str]]:
    """A panel as a table: median and range of each line."""
    out = [[panel.x, *(f"{line.name} ({panel.y})" for line in panel.lines)]]
    for number, place in enumerate(panel.places):
        out.append([f"{place:g}", *(_cell(line, number) for line in panel.lines)])
    return out


def show(name: str, panels: Sequence[Panel]) -> None:
    """Print the tables."""
    for panel in panels:
        print(f"\n{name}: {panel.title}")
        print("\n".join(table(rows(panel))), flush=True)


def draw(panels: Sequence[Panel], out: Path) -> None:
    """Write the panels side by side."""
    save([partial(_fill, panel) for panel in panels], out, size=(4.2, 3.0))


def save(panels: Sequence[Draw], out: Path, *, size: tuple[float, float], wide: int = 0) -> None:
    """Write panels of this size in inches, `wide` of them in a row (0: all), on a grid."""
    wide = min(len(panels), wide or len(panels))
    tall = math.ceil(len(panels) / wide)
    with matplotlib.rc_context(STYLE):
        whole = (size[0] * wide, size[1] * tall)
        figure = Figure(figsize=whole, facecolor=PAPER, layout="constrained")
        places = figure.subplots(tall, wide, squeeze=False).flatten()
        for axes, panel in zip(places, panels, strict=False):
            panel(axes)
            axes.grid(color=LINES, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


def _fill(panel: Panel, axes: Axes) -> None:
    measured = 0
    for line in panel.lines:
        medians = [spread.median for spread in line.values]
        if line.limit:
            axes.plot(panel.places, medians, "--", color=LIMIT, linewidth=1)
            axes.annotate(
                line.name,
                (panel.places[len(medians) // 2], medians[len(medians) // 2]),
                xytext=(6, -11),
                textcoords="offset points",
                color=LIMIT,
                fontsize=8,
            )
            continue
        colour = COLOURS[measured % len(COLOURS)]
        measured += 1
        below = [spread.median - spread.low for spread in line.values]
        above = [spread.high - spread.median for spread in line.values]
        axes.errorbar(
            panel.places, medians, yerr=[below, above], fmt="o-", markersize=4, capsize=2,
            linewidth=1.5, color=colour, label=line.name,
        )  # fmt: skip
    if panel.linear:
        axes.set_xlim(left=0)
    else:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(panel.places), [f"{place:g}" for place in panel.places])
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.set_title(panel.title, fontsize=9, loc="left")
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(bottom=0)
    axes.minorticks_off()
    if measured > 1:
        axes.legend(frameon=False, fontsize=8)


def _cell(line: Line, number: int) -> str:
    spread = line.values[number]
    if line.limit:
        return f"{spread.median:.4g}"
    return f"{spread.median:.4g} [{spread.low:.4g}, {spread.high:.4g}]"
