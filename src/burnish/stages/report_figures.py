"""Figures as plain data: curves, bands, dots with whiskers, calibration.

Colours are names, "@0" to "@7" and "@ink", "@muted", "@line", with an optional opacity ("@2/0.2");
the page's script resolves them for a light or a dark screen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evals.stats import Interval
from burnish.stages.report_markup import Figure, plot_text

MAX_POINTS = 1000
SMOOTH_FROM = 40
_SMOOTH_SHARE = 0.05

Trace = Mapping[str, Any]


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
) -> Trace:
    """A line; `hover` is Plotly's template for its points."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "x": _rounded(x),
        "y": _rounded(y),
        "name": plot_text(name),
        "line": {"color": colour, "width": 2, "dash": dash},
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


def curve(
    key: str,
    title: str,
    steps: Sequence[float],
    values: Sequence[float | None],
    unit: str,
    why: str,
) -> Figure:
    """One metric over steps; from forty points on, also a centred mean over a 5 % window."""
    steps, values, block = thinned(steps, values)
    hover = "step %{x}: %{y:.5g}"
    smooth = len(values) >= SMOOTH_FROM
    raw = line(
        steps,
        values,
        name="value",
        colour="@0/0.35" if smooth else "@0",
        hover=hover,
        markers=len(values) < SMOOTH_FROM,
    )
    traces = [{**raw, "line": {"color": raw["line"]["color"], "width": 1 if smooth else 2}}]
    if smooth:
        traces.append(
            dict(
                line(
                    steps,
                    smoothed(values),
                    name="mean over a 5 % window",
                    colour="@0",
                    hover="5 % window around step %{x}: %{y:.5g}",
                    markers=False,
                )
            )
        )
    caption = why + (f" Each point is the mean of {block} steps." if block > 1 else "")
    layout = {
        "xaxis": axis("step"),
        "yaxis": axis(unit or "no unit"),
        "showlegend": False,
    }
    return Figure(id=key, title=title, traces=traces, layout=layout, caption=caption, height=210)


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
