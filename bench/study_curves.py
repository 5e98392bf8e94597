"""Pictures of studies with curves, from their runs: `python -m bench.study_curves RUN OUT.svg`.

What is drawn follows from what the run holds, by the readers of its report.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from bench.plot import COLOURS, Draw, save
from burnish.evals.shift import KINDS
from burnish.evals.stats import Interval
from burnish.stages.report_examples import Portions, read_portions
from burnish.stages.report_files import RunFiles, read_run
from burnish.stages.report_kinds import Kind, read_kinds
from burnish.stages.report_pools import Scaling, read_scaling
from burnish.stages.report_scores import Scores, read_scores
from burnish.stages.report_sequential import PARTS, Forced, read_sequential
from burnish.stages.report_shift import Shift, read_shifts
from burnish.stages.report_training_scaling import Trained, read_training_scaling

WIDE = 3
"""Panels in a row."""


def main() -> None:
    """Draw one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the directory of a study's run")
    parser.add_argument("out", type=Path, help="the SVG file to write")
    args = parser.parse_args()
    run = read_run(args.run)
    panels = _panels(run, read_scores(run))
    if not panels:
        parser.error(f"{args.run}: holds none of the studies that have curves")
    save([partial(_with_legend, panel) for panel in panels], args.out, size=(3.6, 2.8), wide=WIDE)


def _panels(run: RunFiles, scores: Scores | None) -> list[Draw]:
    kinds = read_kinds(run, scores)
    trained, scalings = read_training_scaling(run), read_scaling(run)
    panels: list[Draw] = [_kind(kind, COLOURS[i % 4]) for i, kind in enumerate(kinds)]
    panels += [_shift(shift) for shift in read_shifts(run)]
    if trained:
        panels.append(lambda axes: _training(axes, trained))
    if len(scalings) > 1:
        panels.append(lambda axes: _coverage(axes, scalings))
    else:
        panels += [_parallel(scaling) for scaling in scalings]
    panels += [_sequential(forced) for forced in read_sequential(run)]
    panels += [_examples(portions) for portions in read_portions(run, scores)]
    return panels


def _with_legend(draw: Draw, axes: Axes) -> None:
    draw(axes)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False, fontsize=7)


def _curve(
    axes: Axes, x: Sequence[float], y: Sequence[Interval], name: str, colour: str, dash: str = "-"
) -> None:
    """A line of estimates with its intervals as a band."""
    axes.plot(x, [i.estimate for i in y], dash, color=colour, label=name, marker="o", markersize=3)
    axes.fill_between(x, [i.low for i in y], [i.high for i in y], color=colour, alpha=0.15, lw=0)


def _percent(found: Sequence[Interval]) -> list[Interval]:
    return [interval.times(100) for interval in found]


def _named(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _logarithmic(axes: Axes, places: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(places), [f"{place:.0f}" for place in places])
    axes.minorticks_off()


def _parallel(scaling: Scaling) -> Draw:
    def draw(axes: Axes) -> None:
        x = [b.tokens for b in scaling.budgets]
        curves = {"pass@k": [b.coverage for b in scaling.budgets]}
        votes = [b.majority for b in scaling.budgets if b.majority is not None]
        curves |= {"majority": votes} if votes else {}
        curves |= {f"best by {j}": [b.best[j] for b in scaling.budgets] for j in scaling.judges}
        weighing = scaling.budgets[0].weighted
        curves |= {f"weighted by {j}": [b.weighted[j] for b in scaling.budgets] for j in weighing}
        for (name, found), colour in zip(curves.items(), COLOURS, strict=False):
            _curve(axes, x, _percent(found), name, colour)
        _logarithmic(axes, x)
        _named(axes, "In parallel", "sampled tokens per problem", "problems solved (%)")

    return draw


def _sequential(forced: Forced) -> Draw:
    def draw(axes: Axes) -> None:
        for (name, (ways, _)), colour in zip(PARTS.items(), COLOURS, strict=False):
            part = [p for p in forced.points if p.way in ways]
            _curve(
                axes, [p.tokens for p in part], _percent([p.accuracy for p in part]), name, colour
            )
        axes.set_ylim(bottom=0)
        _named(axes, "In sequence", "tokens per completion", "problems solved (%)")

    return draw


def _training(axes: Axes, found: Sequence[Trained]) -> None:
    for trained, colour in zip(found, COLOURS, strict=False):
        x = [s.teraflops for s in trained.snapshots]
        _curve(axes, x, _percent([s.accuracy for s in trained.snapshots]), trained.name, colour)
        law = next((fit for fit in trained.fits if fit.curve == "saturating"), None)
        if law is not None and not law.refused:
            top, slope, middle = (law.parameters[n].estimate for n in ("A", "B", "x_mid"))
            start = trained.snapshots[0].accuracy.estimate
            places = [x[-1] * i / 100 for i in range(1, 101)]
            rise = [start + (top - start) / (1 + (middle / c) ** slope) for c in places]
            axes.plot(places, [100 * v for v in rise], "--", color=colour, linewidth=0.8)
    axes.set_ylim(bottom=0)
    _named(axes, "GRPO; dashed: fitted", "operations (10¹²)", "held-out sums solved (%)")


def _coverage(axes: Axes, found: Sequence[Scaling]) -> None:
    for scaling, colour in zip(found, COLOURS, strict=False):
        x = [float(b.k) for b in scaling.budgets]
        _curve(axes, x, _percent([b.coverage for b in scaling.budgets]), scaling.model, colour)
    _logarithmic(axes, x[::2])
    _named(axes, "Before and after RL", "tries (k)", "pass@k (%)")


def _shift(shift: Shift) -> Draw:
    def draw(axes: Axes) -> None:
        x = [(s.first + s.last) / 2 + 1 for s in shift.stretches]
        for kind, colour in zip(KINDS, COLOURS, strict=False):
            _curve(axes, x, _percent([s.shares[kind] for s in shift.stretches]), kind, colour)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        title = f"Token shift: {shift.model}, {shift.stage.replace('_', ' ')}"
        _named(axes, title, "position in the answer", "share of tokens (%)")

    return draw


def _examples(portions: Portions) -> Draw:
    def draw(axes: Axes) -> None:
        tuned = [(size, cell) for size, cell in portions.cells.items() if size > 0]
        x = [float(size) for size, _ in tuned]
        _curve(axes, x, [cell.mean for _, cell in tuned], "tuned", COLOURS[0])
        if 0 in portions.cells:
            mean = portions.cells[0].mean
            axes.axhline(mean.estimate, color=COLOURS[1], linewidth=1, label="as it comes")
            axes.axhspan(mean.low, mean.high, color=COLOURS[1], alpha=0.1, linewidth=0)
        _logarithmic(axes, x)
        _named(axes, "How many demonstrations", "demonstrations", "held-out rubric score")

    return draw


def _kind(kind: Kind, colour: str) -> Draw:
    def draw(axes: Axes) -> None:
        axes.plot([p[0] for p in kind.curve], [p[1] for p in kind.curve], color=colour)
        what = "return" if kind.kind == "classical RL" else "score of a step"
        axes.xaxis.set_major_formatter(lambda v, _: f"{v / 1000:g}k" if v else "0")
        _named(axes, f"{kind.stage}: {kind.kind}", "decisions so far", what)

    return draw


if __name__ == "__main__":
    main()
