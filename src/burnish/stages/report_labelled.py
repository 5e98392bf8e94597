"""The quality of outcome, process and attribute models, on held-out labels."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from burnish.evals.calibration import calibration
from burnish.evals.ranking import auc
from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_files import Row, RunFiles
from burnish.stages.report_markup import Section, anchor, join, source_note, table, tag
from burnish.stages.report_numbers import COUNT, GAIN, PERCENT, POINTS, SCORE, Format, Numbers
from burnish.stages.report_scores import by_problem, finite, paired
from burnish.types import mean


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelQuality:
    """One reward model's predictions of one label, beside the truth."""

    stage: str
    source: str
    label: str
    probability: bool
    rows: Sequence[Row]


def read_label_quality(run: RunFiles) -> list[LabelQuality]:
    """The held-out labels of every such reward model in a run."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for stage, artifact in run.artifacts("scores"):
        for row in run.rows(artifact.path):
            if finite(row.get("predicted")) is not None and finite(row.get("true")) is not None:
                found[stage.name, artifact.path, str(row.get("label"))].append(row)
    return [
        LabelQuality(
            stage=stage,
            source=source,
            label=label,
            probability=bool(rows[0].get("probability")),
            rows=rows,
        )
        for (stage, source, label), rows in found.items()
    ]


def labelled_section(found: Sequence[LabelQuality], numbers: Numbers) -> Section | None:
    """A table of probabilities and one of attributes, as there are such models."""
    if not found:
        return None
    intro = tag(
        "p",
        "Labels of completions to held-out prompts, each beside what needs no model: the more "
        "common outcome, or the mean rating. Labels of one prompt are averaged first.",
    )
    chances = [q for q in found if q.probability]
    attributes = [q for q in found if not q.probability]
    parts = []
    if chances:
        head = [
            "model",
            "accuracy",
            "minus the more common outcome",
            "right above wrong (AUC)",
            "calibration error",
            "labels",
        ]
        parts.append(_table(head, [_chance(q, numbers) for q in chances], chances))
    if attributes:
        head = [
            "model",
            "mean absolute error",
            "less than that of the mean by",
            "correlation",
            "labels",
        ]
        parts.append(_table(head, [_attribute(q, numbers) for q in attributes], attributes))
    return Section(
        id="labelled", title="Reward models from labels, held out", body=intro + join(parts)
    )


def _table(
    head: Sequence[object], rows: Sequence[Sequence[object]], found: Sequence[LabelQuality]
) -> Markup:
    return table(head, rows, note=source_note(*(q.source for q in found)))


def _chance(quality: LabelQuality, numbers: Numbers) -> list[object]:
    predicted, true = _columns(quality)
    common = float(mean(true) > 0.5)
    rows = [
        {
            **r,
            "hit": float((r["predicted"] > 0.5) == (r["true"] > 0.5)),
            "usual": float((r["true"] > 0.5) == (common > 0.5)),
        }
        for r in quality.rows
    ]
    hits, usual = by_problem(rows, "hit", "prompt"), by_problem(rows, "usual", "prompt")
    at = f"labelled/{quality.stage}/{anchor(quality.label)}"
    gain = paired(hits, usual)
    return [
        f"{quality.stage}: {quality.label}",
        numbers.interval(
            f"{at}/accuracy",
            mean_interval(list(hits.values())).within(0, 1),
            PERCENT,
            quality.source,
            "share of labels on whose side of one half the prediction is",
        ),
        _gain(numbers, f"{at}/gain", gain, POINTS, quality.source, "the more common outcome"),
        numbers.show(
            f"{at}/auc", auc(predicted, true), SCORE, quality.source, "area under the ROC curve"
        ),
        numbers.show(
            f"{at}/ece",
            calibration(predicted, true).ece,
            SCORE,
            quality.source,
            "expected calibration error, 10 bins of equal width",
        ),
        numbers.show(f"{at}/labels", len(true), COUNT, quality.source, "held-out labels"),
    ]


def _attribute(quality: LabelQuality, numbers: Numbers) -> list[object]:
    predicted, true = _columns(quality)
    middle = mean(true)
    rows = [
        {**r, "error": abs(r["predicted"] - r["true"]), "plain": abs(middle - r["true"])}
        for r in quality.rows
    ]
    errors, plain = by_problem(rows, "error", "prompt"), by_problem(rows, "plain", "prompt")
    at = f"labelled/{quality.stage}/{anchor(quality.label)}"
    return [
        f"{quality.stage}: {quality.label}",
        numbers.interval(
            f"{at}/error",
            mean_interval(list(errors.values())),
            SCORE,
            quality.source,
            "mean absolute error, on the attribute's own scale",
        ),
        _gain(numbers, f"{at}/gain", paired(plain, errors), GAIN, quality.source, "the mean"),
        numbers.show(
            f"{at}/r", _correlation(predicted, true), SCORE, quality.source, "Pearson's r"
        ),
        numbers.show(f"{at}/labels", len(true), COUNT, quality.source, "held-out labels"),
    ]


def _gain(
    numbers: Numbers, key: str, gain: Interval, form: Format, source: str, baseline: str
) -> Markup:
    """How much better than the baseline, green where the interval says so."""
    shown = numbers.interval(key, gain, form, source, f"better than {baseline} by, same prompts")
    return tag("span", shown, f"gain {'up' if gain.low > 0 else 'flat'}")


def _columns(quality: LabelQuality) -> tuple[list[float], list[float]]:
    """What was predicted, and what is."""
    return [float(r["predicted"]) for r in quality.rows], [float(r["true"]) for r in quality.rows]


def _correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's; NaN where one side does not vary."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return float("nan")
    return statistics.correlation(a, b)
