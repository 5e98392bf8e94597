"""The picture of a sweep, from its variants: `python -m bench.sweep_curves SWEEP OUT.svg`.

A panel for each metric, along the first thing that varies: every seed, and the mean with its 95 %
interval over seeds.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from bench.plot import COLOURS, save
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
    panels = [
        partial(_panel, grouped(sweep, found[metric]), metric, sweep.axes[0].key)
        for metric in sweep.metrics
    ]
    save(panels, args.out, size=(4.2, 3.2))


def _panel(settings: Sequence[Setting], metric: str, along: str, axes: Axes) -> None:
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
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
