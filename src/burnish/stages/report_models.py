"""Sections on the models: accuracy on every task, and the landscape of reward, KL and cost."""

import math

from markupsafe import Markup

from burnish.evals.stats import Interval
from burnish.stages.report_figures import axis, whiskers
from burnish.stages.report_files import RunFiles
from burnish.stages.report_markup import (
    EMPTY,
    Figure,
    Section,
    anchor,
    figures,
    join,
    plot_text,
    source_note,
    table,
    tag,
)
from burnish.stages.report_numbers import (
    COUNT,
    LARGE,
    NATS,
    PERCENT,
    POINTS,
    SCORE,
    SECONDS,
    Format,
    Numbers,
    score_format,
)
from burnish.stages.report_scores import Cell, Scores, finite

NUM_COLOURS = 8


def mean_html(cell: Cell, numbers: Numbers) -> Markup:
    """The cell's accuracy or score, with its interval."""
    what = "share of problems passed" if cell.binary else "mean score over problems"
    return numbers.interval(
        f"score/{cell.task}/{cell.model}",
        cell.mean,
        PERCENT if cell.binary else score_format(cell.mean),
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
        POINTS if cell.binary else score_format(cell.mean, signed=True),
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
            "problem with <b>{}</b>, which is narrower than the two intervals suggest; <b>{}</b> "
            "itself is compared with the first model. Green or red: the interval leaves out zero."
        ).format(starts, starts),
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
    rows = [_task_row(cell, numbers) for cell in scores.of_task(task)]
    head = [
        "model",
        "passed" if scores.of_task(task)[0].binary else "score",
        "paired difference",
        "to",
        "problems",
        "mean tokens",
        "cut at limit",
        "unscored",
    ]
    return tag("h3", task) + table(head, rows)


def _task_row(cell: Cell, numbers: Numbers) -> list[object]:
    at, source = f"{cell.task}/{cell.model}", cell.source
    return [
        cell.model,
        mean_html(cell, numbers),
        gain_html(cell, numbers),
        cell.against or "–",
        numbers.show(f"problems/{at}", len(cell.values), COUNT, source, "scored problems"),
        numbers.show(
            f"tokens/{at}",
            cell.tokens,
            Format(decimals=1),
            source,
            "mean tokens of a completion",
        ),
        numbers.show(
            f"truncated/{at}",
            cell.truncated,
            PERCENT,
            source,
            "share of completions that ended at the length limit",
        ),
        numbers.show(
            f"unscored/{at}",
            cell.unscored,
            COUNT,
            source,
            "completions without a score, left out of the means",
        ),
    ]


def landscape_section(run: RunFiles, scores: Scores, numbers: Numbers) -> Section | None:
    """Gold reward beside proxy reward, KL and cost, for tasks that have a proxy or a KL."""
    tasks = [t for t in scores.tasks if any(c.proxy or c.kl for c in scores.of_task(t))]
    if not tasks:
        return None
    intro = tag(
        "p",
        "Gold is the score that counts and was never trained on; proxy is the reward model's. KL "
        "is summed over the tokens of a completion, to the reference, under the model's own "
        "samples. A higher proxy without a higher gold is over-optimisation.",
    )
    body = join(_landscape(run, scores, task, numbers) for task in tasks)
    return Section(id="landscape", title="Gold, proxy, distance and cost", body=intro + body)


def _landscape(run: RunFiles, scores: Scores, task: str, numbers: Numbers) -> Markup:
    cells = scores.of_task(task)
    rows = [_landscape_row(run, cell, numbers) for cell in cells]
    head = [
        "model",
        "gold",
        "paired difference",
        "proxy",
        "KL (nats)",
        "sampled (tokens)",
        "trained (tokens)",
        "time",
        "time with all upstream",
    ]
    note = source_note(
        *(c.source for c in cells),
        *(s.path("tallies.json") for c in cells if (s := run.stage(c.made_by)) and s.folder),
    )
    shown = figures([f for f in (_frontier(scores, task),) if f is not None])
    return tag("h3", task) + shown + table(head, rows, note=note, css="stacked")


def _frontier(scores: Scores, task: str) -> Figure | None:
    cells = [c for c in scores.of_task(task) if c.kl is not None]
    if len(cells) < 2:
        return None
    traces = []
    middle = sum(c.kl.estimate for c in cells if c.kl is not None) / len(cells)
    for cell in cells:
        assert cell.kl is not None
        colour = f"@{scores.models.index(cell.model) % NUM_COLOURS}"
        up = cell.mean.high - cell.mean.estimate if math.isfinite(cell.mean.high) else 0.0
        down = cell.mean.estimate - cell.mean.low if math.isfinite(cell.mean.low) else 0.0
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": [round(cell.kl.estimate, 5)],
                "y": [round(cell.mean.estimate, 5)],
                "text": [f"  {plot_text(cell.model)}  "],
                "textposition": "middle left" if cell.kl.estimate > middle else "middle right",
                "cliponaxis": False,
                "marker": {"size": 11, "color": colour},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [round(up, 5)],
                    "arrayminus": [round(down, 5)],
                    "color": f"{colour}/0.6",
                    "width": 4,
                },
                "hovertemplate": "%{text}: KL %{x:.3f} nats, gold %{y:.3f}<extra></extra>",
                "showlegend": False,
            }
        )
    layout = {"xaxis": axis("KL to the reference (nats)"), "yaxis": axis("gold score")}
    return Figure(
        id=anchor("fig", "frontier", task),
        title=f"Gold score against distance, {task}",
        traces=traces,
        layout=layout,
        height=340,
        caption="Up is better, left is closer to the reference. Whiskers: 95 % intervals.",
    )


def _landscape_row(run: RunFiles, cell: Cell, numbers: Numbers) -> list[object]:
    at = f"{cell.task}/{cell.model}"
    proxy = kl = EMPTY + "–"
    if cell.proxy is not None:
        proxy = numbers.interval(
            f"proxy/{at}",
            cell.proxy,
            SCORE,
            cell.source,
            "mean reward-model score over problems",
        )
    if cell.kl is not None:
        kl = numbers.interval(
            f"kl/{at}",
            cell.kl,
            NATS,
            cell.source,
            "mean over problems of the summed log ratio to the reference",
        )
    return [
        cell.model,
        mean_html(cell, numbers),
        gain_html(cell, numbers),
        proxy,
        kl,
        *_cost(run, cell.made_by, numbers),
    ]


def _cost(run: RunFiles, made_by: str, numbers: Numbers) -> list[object]:
    stage = run.stage(made_by)
    if stage is None or not stage.folder:
        return ["–"] * 4
    source = stage.path("tallies.json")
    whole = upstream(run, stage.name)
    seconds = [s.seconds for s in run.stages if s.name in whole and s.seconds is not None]
    shown: list[object] = [
        numbers.show(f"spent/{stage.name}/{key}", finite(stage.spent.get(key)), LARGE, source, key)
        for key in ("sampled_tokens", "trained_tokens")
    ]
    time_of = stage.path("stage.json")
    shown.append(
        numbers.show(f"seconds/{stage.name}", stage.seconds, SECONDS, time_of, "wall time")
    )
    shown.append(
        numbers.show(
            f"seconds_upstream/{stage.name}",
            sum(seconds),
            SECONDS,
            time_of,
            "wall time of this stage and of every stage it depends on",
        )
    )
    return shown


def upstream(run: RunFiles, name: str) -> set[str]:
    """A stage and all that it depends on."""
    reads = {s.name: s.reads for s in run.stages}
    found, frontier = {name}, [name]
    while frontier:
        for other in reads.get(frontier.pop(), ()):
            if other not in found:
                found.add(other)
                frontier.append(other)
    return found
