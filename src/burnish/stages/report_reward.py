"""The reward model's quality on held-out pairs, beside what needs no model at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from burnish.evals.calibration import Calibration, calibration
from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_bias import bias_table, clarity_table
from burnish.stages.report_figures import axis
from burnish.stages.report_files import Row, RunFiles
from burnish.stages.report_markup import (
    Figure,
    Section,
    anchor,
    figures,
    join,
    source_note,
    table,
    tag,
)
from burnish.stages.report_numbers import COUNT, PERCENT, POINTS, SCORE, Numbers
from burnish.stages.report_scores import by_problem, finite, paired

BINS = 20
"""Of width 0.05 on [0, 1]; a pair's confidence lies in the upper half."""

BASELINES = {"shorter": "the shorter one wins", "bag_of_words": "bag of words"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardQuality:
    """One reward model on its held-out pairs; prompts are the unit of every interval."""

    stage: str
    source: str
    rows: Sequence[Row]
    accuracy: Interval
    baselines: dict[str, tuple[Interval, Interval]]
    """Name -> its accuracy, and the reward model's paired difference to it."""
    by_length: dict[str, Interval]
    calibration: Calibration


def read_reward_quality(run: RunFiles) -> list[RewardQuality]:
    """The held-out pairs of every reward model in a run."""
    found = []
    for stage, artifact in run.artifacts("scores"):
        rows = [_ranked(r) for r in run.rows(artifact.path) if _scored(r)]
        if rows:
            found.append(_quality(stage.name, artifact.path, rows))
    return found


def _scored(row: Row) -> bool:
    return (
        finite(row.get("chosen_score")) is not None
        and finite(row.get("rejected_score")) is not None
    )


def _ranked(row: Row) -> Row:
    gap = float(row["chosen_score"]) - float(row["rejected_score"])
    return {**row, "gap": gap, "right": 0.5 if gap == 0 else float(gap > 0)}


def _quality(stage: str, source: str, rows: Sequence[Row]) -> RewardQuality:
    right = by_problem(rows, "right", "prompt")
    baselines = {}
    for key in BASELINES:
        theirs = by_problem(rows, key, "prompt")
        if theirs:
            baselines[key] = (
                mean_interval(list(theirs.values())).within(0, 1),
                paired(right, theirs),
            )
    split = {
        "chosen is shorter": [r for r in rows if r.get("shorter") == 1],
        "chosen is longer": [r for r in rows if r.get("shorter") == 0],
    }
    return RewardQuality(
        stage=stage,
        source=source,
        rows=rows,
        accuracy=_accuracy(right),
        baselines=baselines,
        by_length={
            name: _accuracy(by_problem(part, "right", "prompt"))
            for name, part in split.items()
            if part
        },
        calibration=calibration(
            [1 / (1 + math.exp(-min(abs(r["gap"]), 700.0))) for r in rows],
            [r["right"] for r in rows],
            bins=BINS,
        ),
    )


def _accuracy(right: Mapping[str, float]) -> Interval:
    return mean_interval(list(right.values())).within(0, 1)


def reward_section(found: Sequence[RewardQuality], numbers: Numbers) -> Section | None:
    """Accuracy beside the two baselines, by length, and calibration."""
    if not found:
        return None
    intro = tag(
        "p",
        "Accuracy on pairs of held-out prompts; ties count one half; pairs of one prompt are "
        "averaged first. A reward model that does not beat “the shorter one wins” and a "
        "bag-of-words model has learnt nothing that they have not.",
    )
    body = join(_one(quality, numbers) for quality in found)
    return Section(id="reward", title="The reward model, on held-out pairs", body=intro + body)


def accuracy_html(quality: RewardQuality, numbers: Numbers) -> Markup:
    """The reward model's held-out accuracy with its interval."""
    return numbers.interval(
        f"reward/{quality.stage}",
        quality.accuracy,
        PERCENT,
        quality.source,
        "share of held-out pairs ranked as annotated, ties one half, mean over prompts",
    )


def baseline_html(quality: RewardQuality, key: str, numbers: Numbers) -> tuple[Markup, Markup]:
    """A baseline's accuracy, and the reward model's paired difference to it."""
    theirs, gain = quality.baselines[key]
    at = f"reward/{quality.stage}/{key}"
    return (
        numbers.interval(at, theirs, PERCENT, quality.source, f"accuracy of: {BASELINES[key]}"),
        numbers.interval(
            f"{at}/gain",
            gain,
            POINTS,
            quality.source,
            f"reward model minus {BASELINES[key]}, on the same prompts",
        ),
    )


def _one(quality: RewardQuality, numbers: Numbers) -> Markup:
    rows: list[list[object]] = [
        ["reward model", accuracy_html(quality, numbers), "–", _count(quality, "", numbers)]
    ]
    for key in quality.baselines:
        theirs, gain = baseline_html(quality, key, numbers)
        css = "up" if quality.baselines[key][1].low > 0 else "flat"
        rows.append([BASELINES[key], theirs, tag("span", gain, f"gain {css}"), ""])
    for name, interval in quality.by_length.items():
        shown = numbers.interval(
            f"reward/{quality.stage}/{anchor(name)}",
            interval,
            PERCENT,
            quality.source,
            f"reward model's accuracy on pairs where the {name}",
        )
        rows.append([f"reward model, where the {name}", shown, "–", ""])
    error = numbers.show(
        f"reward/{quality.stage}/ece",
        quality.calibration.ece,
        SCORE,
        quality.source,
        f"expected calibration error, {BINS} bins of equal width on [0, 1]",
    )
    remark = Markup("<p>Expected calibration error: {}.</p>").format(error)
    head = ["ranked by", "accuracy", "reward model minus it", "pairs"]
    shown_table = table(head, rows, note=source_note(quality.source))
    plots = figures([_reliability(quality), _gaps(quality)])
    given = (quality.stage, quality.source, quality.rows, numbers)
    tables = clarity_table(*given) + bias_table(*given)
    return tag("h3", quality.stage) + shown_table + remark + tables + plots


def _count(quality: RewardQuality, part: str, numbers: Numbers) -> Markup:
    return numbers.show(
        f"reward/{quality.stage}/pairs{part}",
        len(quality.rows),
        COUNT,
        quality.source,
        "held-out pairs with both scores",
    )


def _reliability(quality: RewardQuality) -> Figure:
    bins = quality.calibration.bins
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": [0.5, 1],
        "y": [0.5, 1],
        "line": {"dash": "dot", "width": 1, "color": "@muted"},
        "hoverinfo": "skip",
    }
    dots = {
        "type": "scatter",
        "mode": "markers+lines",
        "x": [round(b.mean_probability, 4) for b in bins],
        "y": [round(b.frequency, 4) for b in bins],
        "customdata": [b.n for b in bins],
        "marker": {
            "color": "@0",
            "size": [round(5 + 20 * math.sqrt(b.n / len(quality.rows)), 1) for b in bins],
        },
        "line": {"color": "@0/0.4", "width": 1},
        "hovertemplate": "said %{x:.2f}, was right %{y:.2f} (%{customdata} pairs)<extra></extra>",
    }
    layout = {
        "xaxis": axis("stated probability of being right", range=[0.48, 1.02]),
        "yaxis": axis("share of pairs ranked right"),
        "showlegend": False,
    }
    return Figure(
        id=anchor("fig", "calibration", quality.stage),
        title="Calibration",
        traces=[diagonal, dots],
        layout=layout,
        height=320,
        caption="Stated: sigmoid of the score difference. Below the dotted line: overconfident.",
    )


def _gaps(quality: RewardQuality) -> Figure:
    with_length = [r for r in quality.rows if finite(r.get("length_gap")) is not None]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [r["length_gap"] for r in with_length],
        "y": [round(r["gap"], 4) for r in with_length],
        "marker": {"size": 5, "color": "@2/0.45"},
        "hovertemplate": "length %{x:+d}, score %{y:+.2f}<extra></extra>",
        "showlegend": False,
    }
    layout = {
        "xaxis": axis("length, chosen minus rejected"),
        "yaxis": axis("score, chosen minus rejected"),
    }
    return Figure(
        id=anchor("fig", "length", quality.stage),
        title="Score against length",
        traces=[trace],
        layout=layout,
        height=320,
        caption="Each dot is a held-out pair; above zero is ranked as annotated. "
        "A slope means that length is rewarded for itself.",
    )
