"""Sections on the models: accuracy on every task, and the landscape of reward, KL and cost."""

import math

from markupsafe import Markup

from burnish.evals.stats import Interval
from burnish.stages.report_figures import axis, whiskers
from burnish.stages.report_markup import (
    EMPTY,
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
from burnish.stages.report_scores import CONTROL, Cell, Scores, Suite

NUM_COLOURS = 8

CUT = "share of completions that ended at the length limit"


def mean_html(cell: Cell, numbers: Numbers) -> Markup:
    """The cell's accuracy or score, with its interval."""
    what = "share of problems passed" if cell.binary else "mean score over problems"
    form = PERCENT if cell.binary else score_format(cell.largest)
    return numbers.interval(f"score/{cell.key}", cell.mean, form, cell.source, what)


def gain_html(cell: Cell, numbers: Numbers) -> Markup:
    """The paired difference to the model it is compared with."""
    return _difference(cell, "gain", cell.gain, cell.against, numbers)


def control_html(cell: Cell, numbers: Numbers) -> Markup:
    """The paired difference to the model's matched control."""
    return _difference(cell, "over_control", cell.over_control, cell.model + CONTROL, numbers)


def _difference(
    cell: Cell, name: str, gain: Interval | None, other: str, numbers: Numbers
) -> Markup:
    if gain is None:
        return tag("span", "–", "quiet")
    form = POINTS if cell.binary else score_format(cell.largest, signed=True)
    how = f"{cell.model} minus {other} on the same problems"
    shown = numbers.interval(f"{name}/{cell.key}", gain, form, cell.source, how)
    return coloured(gain, shown)


def coloured(change: Interval, shown: Markup) -> Markup:
    """A difference in the colour of the way it goes."""
    return Markup('<span class="gain {}">{}</span>').format(direction(change), shown)


def direction(gain: Interval) -> str:
    """up, down, or flat where the interval holds zero."""
    if not gain.excludes_zero:
        return "flat"
    return "up" if gain.low > 0 else "down"


def colour_of(scores: Scores, model: str) -> str:
    """The same colour for a model in every figure."""
    return f"@{scores.models.index(model) % NUM_COLOURS}"


def accuracy_section(scores: Scores, numbers: Numbers) -> Section:
    """Every model on every task, and the paired difference to the start."""
    firsts = scores.firsts()
    suites = [s for s in scores.suites if s in firsts or not s.is_landscape]
    starts = ", ".join(dict.fromkeys(s.start for s in suites))
    intro = tag(
        "p",
        Markup(
            "Dots are means over problems, whiskers 95 % intervals. The difference is paired by "
            "problem with <b>{}</b>, which is narrower than the two intervals suggest. (Where that "
            "is not the first model, it is itself compared with the first.) Green or red: the "
            "interval leaves out zero."
        ).format(starts),
    )
    shown = figures([_forest(scores, suite) for suite in suites])
    tables = join(_suite_table(suite, numbers) for suite in suites)
    body = intro + shown + tables
    return Section(id="accuracy", title="Every model on every task", body=body)


def _forest(scores: Scores, suite: Suite) -> Figure:
    cells = list(suite.cells.values())
    binary = cells[0].binary
    names = [c.model for c in cells]
    trace = whiskers(
        names,
        [c.mean for c in cells],
        scale=100.0 if binary else 1.0,
        colours=[colour_of(scores, name) for name in names],
    )
    layout = {
        "xaxis": axis("problems passed (%)" if binary else "mean score"),
        "yaxis": axis("model", autorange="reversed", type="category"),
    }
    return Figure(
        id=anchor("fig", suite.stage, suite.task),
        title=suite.label,
        traces=[trace],
        layout=layout,
        height=130 + 34 * len(cells),
    )


def _suite_table(suite: Suite, numbers: Numbers) -> Markup:
    cells = list(suite.cells.values())
    texts = any(math.isfinite(c.tokens) for c in cells)
    controls = any(c.over_control for c in cells)
    head = ["model", "passed" if cells[0].binary else "score", "paired difference", "to"]
    head += [*(["to its control"] if controls else []), "problems"]
    head += [*(["mean tokens", "cut at limit"] if texts else []), "unscored"]
    rows = [_row(cell, texts, controls, numbers) for cell in cells]
    how = Markup('<p class="facts">{}</p>').format(suite.decoding) if suite.decoding else EMPTY
    note = source_note(*(c.source for c in cells))
    return (
        tag("h3", suite.label)
        + how
        + table(head, rows, note=note, css="stacked" if controls else "")
    )


def _row(cell: Cell, texts: bool, controls: bool, numbers: Numbers) -> list[object]:
    def show(name: str, value: float, form: Format, how: str) -> Markup:
        return numbers.show(f"{name}/{cell.key}", value, form, cell.source, how)

    row: list[object] = [cell.model, mean_html(cell, numbers), gain_html(cell, numbers)]
    row.append(cell.against or "–")
    if controls:
        row.append(control_html(cell, numbers))
    row.append(show("problems", len(cell.values), COUNT, "scored problems"))
    if texts:
        one_decimal = Format(decimals=1)
        row.append(show("tokens", cell.tokens, one_decimal, "mean tokens of a completion"))
        row.append(show("truncated", cell.truncated, PERCENT, CUT))
    return [*row, show("unscored", cell.unscored, COUNT, "completions without a score, in no mean")]
