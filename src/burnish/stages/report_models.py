"""Sections on the models: accuracy on every task, and the landscape of reward, KL and cost."""

import math

from markupsafe import Markup

from burnish.evals.stats import Interval
from burnish.stages.report_figures import axis, whiskers
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
from burnish.stages.report_numbers import (
    COUNT,
    PERCENT,
    POINTS,
    Format,
    Numbers,
    score_format,
)
from burnish.stages.report_scores import Cell, Scores

NUM_COLOURS = 8

CUT = "share of completions that ended at the length limit"


def mean_html(cell: Cell, numbers: Numbers) -> Markup:
    """The cell's accuracy or score, with its interval."""
    what = "share of problems passed" if cell.binary else "mean score over problems"
    return numbers.interval(
        f"score/{cell.task}/{cell.model}",
        cell.mean,
        PERCENT if cell.binary else score_format(cell.largest),
        cell.source,
        f"{what}, model {cell.model}, task {cell.task}",
    )


def gain_html(cell: Cell, numbers: Numbers) -> Markup:
    """The paired difference to the model it is compared with."""
    if cell.gain is None:
        return tag("span", "–", "quiet")
    shown = numbers.interval(
        f"gain/{cell.task}/{cell.model}",
        cell.gain,
        POINTS if cell.binary else score_format(cell.largest, signed=True),
        cell.source,
        f"{cell.model} minus {cell.against} on the same problems of {cell.task}",
    )
    return Markup('<span class="gain {}">{}</span>').format(direction(cell.gain), shown)


def direction(gain: Interval) -> str:
    """up, down, or flat where the interval holds zero."""
    if not gain.excludes_zero:
        return "flat"
    return "up" if gain.low > 0 else "down"


def accuracy_section(scores: Scores, numbers: Numbers) -> Section:
    """Every model on every task, and the paired difference to the start."""
    starts = ", ".join(dict.fromkeys(scores.starts.values()))
    shown = [_forest(scores, task) for task in scores.tasks]
    tables = join(_task_table(scores, task, numbers) for task in scores.tasks)
    intro = tag(
        "p",
        Markup(
            "Dots are means over problems, whiskers 95 % intervals. The difference is paired by "
            "problem with <b>{}</b>, which is narrower than the two intervals suggest. (Where that "
            "is not the first model, it is itself compared with the first.) Green or red: the "
            "interval leaves out zero."
        ).format(starts),
    )
    note = source_note(*(c.source for c in scores.cells.values()))
    return Section(
        id="accuracy", title="Every model on every task", body=intro + figures(shown, note) + tables
    )


def _forest(scores: Scores, task: str) -> Figure:
    cells = scores.of_task(task)
    binary = cells[0].binary
    names = [c.model for c in cells]
    colours = [f"@{scores.models.index(n) % NUM_COLOURS}" for n in names]
    scale = 100.0 if binary else 1.0
    trace = whiskers(names, [c.mean for c in cells], scale=scale, colours=colours)
    layout = {
        "xaxis": axis("problems passed (%)" if binary else "mean score"),
        "yaxis": axis("model", autorange="reversed", type="category"),
    }
    return Figure(
        id=anchor("fig", "task", task),
        title=task,
        traces=[trace],
        layout=layout,
        height=130 + 34 * len(cells),
    )


def _task_table(scores: Scores, task: str, numbers: Numbers) -> Markup:
    cells = scores.of_task(task)
    texts = any(math.isfinite(c.tokens) for c in cells)
    head = ["model", "passed" if cells[0].binary else "score", "paired difference", "to"]
    head += ["problems", *(["mean tokens", "cut at limit"] if texts else []), "unscored"]
    rows = [_task_row(cell, texts, numbers) for cell in cells]
    return tag("h3", task) + table(head, rows)


def _task_row(cell: Cell, texts: bool, numbers: Numbers) -> list[object]:
    def show(name: str, value: float, form: Format, how: str) -> Markup:
        return numbers.show(f"{name}/{cell.task}/{cell.model}", value, form, cell.source, how)

    row: list[object] = [
        cell.model,
        mean_html(cell, numbers),
        gain_html(cell, numbers),
        cell.against or "–",
        show("problems", len(cell.values), COUNT, "scored problems"),
    ]
    if texts:
        one_decimal = Format(decimals=1)
        row.append(show("tokens", cell.tokens, one_decimal, "mean tokens of a completion"))
        row.append(show("truncated", cell.truncated, PERCENT, CUT))
    return [*row, show("unscored", cell.unscored, COUNT, "completions without a score, in no mean")]
