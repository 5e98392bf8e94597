"""Figures as plain data: curves, bands, dots with whiskers, calibration.

Colours are names, "@0" to "@7" and "@ink", "@muted", "@line", with an optional opacity ("@2/0.2");
the page's script resolves them for a light or a dark screen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from burnish.evals.stats import Interval
from burnish.stages.report_markup import Figure, plot_text

MAX_POINTS = 1000
SMOOTH_FROM = 40
_SMOOTH_SHARE = 0.05

Trace: TypeAlias = Mapping[str, Any]
Points: TypeAlias = tuple[Sequence[float], Sequence[float | None]]
"""Steps, and the values at them."""


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": plot_text(title)}} | more


def line(
    x: Sequence[float],
    y: Sequence[float | None],
    *,
    name: str,
    colour: str,
    hover: str,
    dash: str = "solid",
    markers: bool = True,
    width: int = 2,
) -> Trace:
    """A line; `hover` is Plotly's template for its points."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "x": _rounded(x),
        "y": _rounded(y),
        "name": plot_text(name),
        "line": {"color": colour, "width": width, "dash": dash},
        "marker": {"size": 6, "color": colour},
        "hovertemplate": hover + "<extra></extra>",
    }


def band(x: Sequence[float], intervals: Sequence[Interval], colour: str) -> Trace:
    """The area between the bounds, without those points that have none."""
    kept = [(a, i) for a, i in zip(x, intervals, strict=True) if math.isfinite(i.low)]
    xs = [a for a, _ in kept]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": _rounded(xs + xs[::-1]),
        "y": _rounded([i.high for _, i in kept] + [i.low for _, i in kept][::-1]),
        "fill": "toself",
        "fillcolor": f"{colour}/0.16",
        "line": {"width": 0, "color": f"{colour}/0"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def whiskers(
    names: Sequence[str], intervals: Sequence[Interval], *, scale: float, colours: Sequence[str]
) -> Trace:
    """A dot with its interval for each name, names down the y axis."""
    middle = [i.estimate * scale for i in intervals]
    high = [_gap(i.high, i.estimate) * scale for i in intervals]
    low = [_gap(i.estimate, i.low) * scale for i in intervals]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _rounded(middle),
        "y": [plot_text(n) for n in names],
        "marker": {"size": 9, "color": list(colours)},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": _rounded(high),
            "arrayminus": _rounded(low),
            "color": "@muted",
            "thickness": 1.5,
            "width": 4,
        },
        "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
        "showlegend": False,
    }


def labelled_dot(at: tuple[float, Interval], name: str, colour: str, *, on_left: bool) -> Trace:
    """A dot with its name beside it and a whisker up and down."""
    x, y = at
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": _rounded([x]),
        "y": _rounded([y.estimate]),
        "text": [f"  {plot_text(name)}  "],
        "textposition": "middle left" if on_left else "middle right",
        "cliponaxis": False,
        "marker": {"size": 11, "color": colour},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": _rounded([_gap(y.high, y.estimate)]),
            "arrayminus": _rounded([_gap(y.estimate, y.low)]),
            "color": f"{colour}/0.6",
            "width": 4,
        },
        "hovertemplate": "%{text}: %{x:.3f}, %{y:.3f}<extra></extra>",
        "showlegend": False,
    }


def curve(
    key: str, title: str, lines: Mapping[str, Points], *, unit: str, caption: str = ""
) -> Figure:
    """One metric over steps, a line for each name.

    A single line of forty points or more is drawn pale, with a centred mean over a 5 % window.
    """
    traces: list[Trace] = []
    blocks = 1
    for number, (name, points) in enumerate(lines.items()):
        steps, values, block = thinned(*points)
        blocks = max(blocks, block)
        colour, few = f"@{number % 8}", len(values) < SMOOTH_FROM
        smooth = len(lines) == 1 and not few
        shade, hover = f"{colour}/0.35" if smooth else colour, "step %{x}: %{y:.5g}"
        traces.append(
            line(steps, values, name=name, colour=shade, hover=hover, markers=few, width=2 - smooth)
        )
        if smooth:
            mean = smoothed(values)
            hover = "5 % window around step %{x}: %{y:.5g}"
            traces.append(line(steps, mean, name="mean", colour=colour, hover=hover, markers=False))
    layout = {"xaxis": axis("step"), "yaxis": axis(unit), "showlegend": len(lines) > 1}
    note = f" Each point is the mean of {blocks} steps." if blocks > 1 else ""
    return Figure(
        id=key, title=title, traces=traces, layout=layout, caption=caption + note, height=210
    )


def thinned(
    steps: Sequence[float], values: Sequence[float | None]
) -> tuple[list[float], list[float | None], int]:
    """At most MAX_POINTS points, each the mean of a block of steps; and the size of the blocks."""
    block = math.ceil(len(steps) / MAX_POINTS)
    if block <= 1:
        return list(steps), list(values), 1
    starts = range(0, len(steps), block)
    means = [mean_of(values[i : i + block]) for i in starts]
    return [steps[i] for i in starts], means, block


def smoothed(values: Sequence[float | None]) -> list[float | None]:
    """A centred mean over a window of 5 % of the points; cut short at both ends."""
    half = max(1, round(len(values) * _SMOOTH_SHARE / 2))
    return [mean_of(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there."""
    there = [v for v in values if v is not None]
    return sum(there) / len(there) if there else None


def _gap(a: float, b: float) -> float:
    return a - b if math.isfinite(a - b) else 0.0


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    """Six significant digits: enough for a screen, and a tenth of the page's size."""
    return [float(f"{v:.6g}") if v is not None and math.isfinite(v) else None for v in values]
