"""The picture of a sweep, from its variants: `python -m bench.sweep_curves SWEEP OUT.svg`.

A panel for each metric, along the first thing that varies: every seed, and the mean with its 95 %
interval over seeds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plot import COLOURS, LINES, PAPER, STYLE
from burnish.stages.sweep import Sweep, points
from burnish.stages.sweep_page import Setting, grouped


def main() -> None:
    """Draw one sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="the directory of a sweep")
    parser.add_argument("out", type=Path, help="the SVG file to write")
    args = parser.parse_args()
    sweep = Sweep.read(args.sweep)
    found = points(sweep, args.sweep)
    with matplotlib.rc_context(STYLE):
        size = (4.2 * len(sweep.metrics), 3.2)
        figure = Figure(figsize=size, facecolor=PAPER, layout="constrained")
        rows = figure.subplots(1, len(sweep.metrics), squeeze=False)
        for axes, metric in zip(rows[0], sweep.metrics, strict=True):
            _panel(axes, grouped(sweep, found[metric]), metric, sweep.axes[0].key)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out, metadata={"Date": None})


def _panel(axes: Axes, settings: Sequence[Setting], metric: str, along: str) -> None:
    lines: dict[tuple[str, ...], list[Setting]] = {}
    for setting in settings:
        lines.setdefault(setting.values[1:], []).append(setting)
    places = {value: n for n, value in enumerate(dict.fromkeys(s.values[0] for s in settings))}
    for number, (rest, found) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        at = [places[s.values[0]] for s in found]
        means = [s.interval for s in found]
        ends = [
            [m.estimate - m.low for m in means],
            [m.high - m.estimate for m in means],
        ]
        axes.errorbar(
            at, [m.estimate for m in means], yerr=ends, fmt="o-", color=colour, markersize=5,
            capsize=3, label=", ".join(rest) or None,
        )  # fmt: skip
        for place, setting in zip(at, found, strict=True):
            values = [p.value for p in setting.points]
            axes.plot([place + 0.08] * len(values), values, "_", color=colour, markersize=9)
    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlabel(along)
    axes.set_title(
        f"{metric}\nmean of seeds, 95 % interval; strokes: seeds", fontsize=9, loc="left"
    )
    axes.grid(color=LINES, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
