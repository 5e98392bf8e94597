"""What a reward model goes by besides quality: length, markup, the order of showing.

For each such feature, over the held-out pairs whose two answers differ in it: how often the labels
prefer the answer that has more of it, how often the reward model does, and the difference. Labels
may favour length with good reason; what the model adds to that is its own.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from burnish.evals.stats import mean_interval
from burnish.stages.report_files import Row
from burnish.stages.report_markup import EMPTY, source_note, table, tag
from burnish.stages.report_numbers import COUNT, PERCENT, POINTS, Numbers
from burnish.stages.report_scores import by_problem, finite, paired

FEATURES: Mapping[str, str] = {
    "length_gap": "the longer one",
    "markup_gap": "the one with more markup",
    "shown_gap": "the one shown first",
}
"""Gap of a pair, chosen minus rejected -> the answer that has more of the feature."""
PARTS = 3
"""Buckets of pairs by how clear they are, where that is a number of many values."""


def bias_table(stage: str, source: str, rows: Sequence[Row], numbers: Numbers) -> Markup:
    """Labels and reward model side by side, for each feature that some pairs differ in."""
    body: list[list[object]] = []
    for key, name in FEATURES.items():
        differing = [r for r in rows if finite(r.get(key))]
        if not differing:
            continue
        marked = [_marked(row, key) for row in differing]
        labels = by_problem(marked, "labels", "prompt")
        model = by_problem(marked, "model", "prompt")
        at, what = f"reward/{stage}/bias/{key}", f"prefer {name}, on pairs that differ in it"
        added = paired(model, labels)
        css = "flat" if added.low <= 0 <= added.high else "down"
        shown = numbers.interval(
            f"{at}/added", added, POINTS, source, "reward model minus labels, on the same prompts"
        )
        body.append(
            [
                name,
                numbers.interval(
                    f"{at}/labels",
                    mean_interval(list(labels.values())).within(0, 1),
                    PERCENT,
                    source,
                    f"how often the labels {what}",
                ),
                numbers.interval(
                    f"{at}/model",
                    mean_interval(list(model.values())).within(0, 1),
                    PERCENT,
                    source,
                    f"how often the reward model's scores {what}",
                ),
                tag("span", shown, f"gain {css}"),
                numbers.show(f"{at}/pairs", len(differing), COUNT, source, "pairs that differ"),
            ]
        )
    if not body:
        return EMPTY
    intro = tag(
        "p",
        "What is preferred besides quality. 50 % is no preference; a difference says what the "
        "reward model adds to, or leaves out of, what the labels have.",
    )
    head = ["prefers", "labels", "reward model", "reward model minus labels", "pairs"]
    return intro + table(head, body, note=source_note(source))


def clarity_table(stage: str, source: str, rows: Sequence[Row], numbers: Numbers) -> Markup:
    """Accuracy where the annotator's margin (or else the gold gap) is narrow or wide."""
    key = next((k for k in ("margin", "gold_gap") if len(_values(rows, k)) > 1), None)
    if key is None:
        return EMPTY
    name = "margin" if key == "margin" else "gap in the gold reward"
    body: list[list[object]] = []
    for number, (low, high) in enumerate(_buckets(sorted(_values(rows, key))), start=1):
        part = [r for r in rows if (v := finite(r.get(key))) is not None and low <= abs(v) <= high]
        words = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        at = f"reward/{stage}/clarity/{number}"  # two may be the same in three digits
        right = by_problem(part, "right", "prompt")
        body.append(
            [
                words,
                numbers.interval(
                    at,
                    mean_interval(list(right.values())).within(0, 1),
                    PERCENT,
                    source,
                    f"reward model's accuracy on pairs with a {name} of {words}",
                ),
                numbers.show(f"{at}/pairs", len(part), COUNT, source, "pairs"),
            ]
        )
    return table([f"{name}, absolute", "accuracy", "pairs"], body, note=source_note(source))


def _marked(row: Row, key: str) -> Row:
    """1 where the answer with more of the feature is preferred, by labels and by the model."""
    has_more = float(row[key]) > 0
    right = float(row["right"])
    return {**row, "labels": float(has_more), "model": right if has_more else 1 - right}


def _values(rows: Sequence[Row], key: str) -> set[float]:
    return {abs(value) for row in rows if (value := finite(row.get(key))) is not None}


def _buckets(values: Sequence[float]) -> list[tuple[float, float]]:
    """Each value alone where there are few, else equal parts of the distinct ones."""
    if len(values) <= PARTS + 1:
        return [(v, v) for v in values]
    cuts = [round(i * len(values) / PARTS) for i in range(PARTS + 1)]
    return [(values[a], values[b - 1]) for a, b in pairwise(cuts)]
