"""Pictures of studies, from the runs themselves: `python -m bench.studies RUN OUT.svg`.

What is drawn follows from what the run holds: paths with several seeds, or proxies pursued.
"""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from bench.plot import COLOURS, LIMIT, Draw, save
from burnish.evals.stats import Interval, mean_interval
from burnish.stages.overopt_series import Series, read_overoptimisation
from burnish.stages.path_records import KINDS, TrainingPath, read_paths
from burnish.stages.report_files import read_run
from burnish.stages.report_scores import by_problem, read_scores

MORE = (*COLOURS, "#bf3989", "#9a6700")
WEIGHT = {"sampled_tokens": 1, "scored_tokens": 1, "trained_tokens": 3}


def main() -> None:
    """Draw one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the directory of a study's run")
    parser.add_argument("out", type=Path, help="the picture to write, .svg or .png")
    args = parser.parse_args()
    run = read_run(args.run)
    paths = read_paths(run, read_scores(run))
    series = read_overoptimisation(run)
    if paths:
        panels = _path_panels(paths)
    elif series:
        panels = _series_panels(series)
    else:
        parser.error(f"{args.run}: neither paths with several seeds nor proxies that were pursued")
    save([partial(_with_few_ticks, panel) for panel in panels], args.out, size=(4.2, 3.2))


def _with_few_ticks(draw: Draw, axes: Axes) -> None:
    draw(axes)
    axes.locator_params(axis="x", nbins=6)


def _path_panels(paths: Sequence[TrainingPath]) -> list[Draw]:
    start = paths[0].suite.start
    return [
        lambda axes: _gains(axes, paths, f"gold less that of {start}"),
        lambda axes: _frontier(axes, paths, start),
        lambda axes: _costs(axes, paths),
    ]


def _gains(axes: Axes, paths: Sequence[TrainingPath], label: str) -> None:
    for number, path in enumerate(paths):
        colour = MORE[number % len(MORE)]
        _whisker(axes, path.gain, number, colour)
        base = path.suite.cells[path.suite.start].values
        for taken in path.taken:
            cells = path.suite.cells.values()
            cell = next(c for c in cells if c.made_by == taken.last.name)
            gains = [cell.values[p] - base[p] for p in base if p in cell.values]
            axes.plot(sum(gains) / len(gains), number + 0.22, "|", color=colour, markersize=7)
    axes.axvline(0, color=LIMIT, linewidth=1)
    axes.set_yticks(range(len(paths)), [p.name for p in paths])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title("95 % intervals; strokes: single seeds", fontsize=9, loc="left")


def _whisker(axes: Axes, interval: Interval, place: float, colour: str) -> None:
    axes.errorbar(
        [interval.estimate], [place],
        xerr=[[interval.estimate - interval.low], [interval.high - interval.estimate]],
        fmt="o", markersize=5, capsize=3, color=colour,
    )  # fmt: skip


def _frontier(axes: Axes, paths: Sequence[TrainingPath], start: str) -> None:
    for number, path in enumerate(paths):
        if path.kl is None:
            continue
        gain, kl, colour = path.gain, path.kl, MORE[number % len(MORE)]
        axes.errorbar(
            [kl.estimate], [gain.estimate],
            xerr=[[kl.estimate - kl.low], [kl.high - kl.estimate]],
            yerr=[[gain.estimate - gain.low], [gain.high - gain.estimate]],
            fmt="o", markersize=5, capsize=2, linewidth=1, color=colour,
        )  # fmt: skip
        axes.annotate(
            path.name,
            (kl.estimate, gain.estimate),
            xytext=(5, 5),
            textcoords="offset points",
            color=colour,
        )
    axes.axhline(0, color=LIMIT, linewidth=1)
    axes.set_xlabel(f"KL to {start} (nats)")
    axes.set_ylabel("difference in gold")
    axes.set_title("the same over distance", fontsize=9, loc="left")


def _costs(axes: Axes, paths: Sequence[TrainingPath]) -> None:
    left = [0.0] * len(paths)
    for kind, colour in zip(KINDS, COLOURS, strict=False):
        widths = [WEIGHT[kind] * path.mean(kind) / 1000 for path in paths]
        name = kind.removesuffix("_tokens")
        axes.barh(range(len(paths)), widths, left=left, color=colour, label=name, height=0.6)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(paths)), [p.name for p in paths])
    axes.invert_yaxis()
    axes.set_xlabel("forward passes of one token (thousands)")
    axes.set_title("what each path took, labels included", fontsize=9, loc="left")
    axes.set_xlim(right=1.35 * max(left))
    axes.legend(frameon=False, fontsize=8, loc="center right")


def _series_panels(found: Sequence[Series]) -> list[Draw]:
    best = [s for s in found if s.is_best_of_n]
    trained = [s for s in found if not s.is_best_of_n]
    return [
        lambda axes: _pursued(axes, best, "best of n"),
        lambda axes: _pursued(axes, trained, "training"),
        lambda axes: _lengths(axes, found),
    ]


def _pursued(axes: Axes, found: Sequence[Series], title: str) -> None:
    for number, series in enumerate(found):
        colour = MORE[number % len(MORE)]
        x = _distances(series)
        gold = [p.gold_change.times(1 / (series.gold_spread or 1)) for p in series.points]
        proxy = [p.proxy_change.times(1 / (series.proxy_spread or 1)) for p in series.points]
        name = series.label.removeprefix("best of n, ")
        axes.plot(
            x, [c.estimate for c in gold], "o-", markersize=3, color=colour, label=f"gold, {name}"
        )
        axes.fill_between(
            x, [c.low for c in gold], [c.high for c in gold], color=colour, alpha=0.13, linewidth=0
        )
        axes.plot(x, [c.estimate for c in proxy], "--", color=colour, linewidth=1)
    axes.axhline(0, color=LIMIT, linewidth=1)
    axes.set_xlabel("distance √KL (√nats)")
    axes.set_ylabel("change from the start (SD)")
    axes.set_title(f"{title}: gold (solid), its proxy (dashed)", fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=7)


def _lengths(axes: Axes, found: Sequence[Series]) -> None:
    for number, series in enumerate(found):
        rows = [series.rows[p.x] for p in series.points]
        if not all("words" in row for point in rows for row in point):
            continue
        values = [
            mean_interval(list(by_problem(point, "words", "prompt").values()), binary=False)
            for point in rows
        ]
        axes.plot(
            _distances(series),
            [v.estimate for v in values],
            "o:" if series.is_best_of_n else "o-",
            markersize=3,
            color=MORE[number % len(MORE)],
            label=series.label,
        )
    axes.set_xlabel("distance √KL (√nats)")
    axes.set_ylabel("words")
    axes.set_title("a symptom: length", fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=7)


def _distances(series: Series) -> list[float]:
    return [math.sqrt(max(point.kl, 0.0)) for point in series.points]


if __name__ == "__main__":
    main()
