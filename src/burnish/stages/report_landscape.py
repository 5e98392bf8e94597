"""The landscape: gold reward beside proxy reward, distance and cost, model by model."""

from markupsafe import Markup

from burnish.stages.report_figures import axis, labelled_dot
from burnish.stages.report_files import RunFiles
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
from burnish.stages.report_models import colour_of, gain_html, mean_html
from burnish.stages.report_numbers import LARGE, NATS, SCORE, SECONDS, Numbers
from burnish.stages.report_scores import Cell, Scores, Suite, finite


def landscape_section(run: RunFiles, scores: Scores, numbers: Numbers) -> Section | None:
    """Gold reward beside proxy reward, KL and cost, for suites that have a proxy or a KL."""
    suites = [suite for suite in scores.suites if suite.is_landscape]
    if not suites:
        return None
    intro = tag(
        "p",
        "Gold is the score that counts and was never trained on; proxy is the reward model's. KL "
        "is summed over the tokens of a completion, to the reference, under the model's own "
        "samples. A higher proxy without a higher gold is over-optimisation.",
    )
    body = join(_landscape(run, scores, suite, numbers) for suite in suites)
    return Section(id="landscape", title="Gold, proxy, distance and cost", body=intro + body)


def _landscape(run: RunFiles, scores: Scores, suite: Suite, numbers: Numbers) -> Markup:
    cells = list(suite.cells.values())
    rows = [_landscape_row(run, cell, numbers) for cell in cells]
    head = ["model", "gold", "paired difference", "proxy", "KL (nats)", "sampled (tokens)"]
    head += ["trained (tokens)", "time", "time with all upstream"]
    note = source_note(
        *(c.source for c in cells),
        *(s.path("tallies.json") for c in cells if (s := run.stage(c.made_by)) and s.folder),
    )
    shown = figures([f for f in (_frontier(scores, suite),) if f is not None])
    return tag("h3", suite.label) + shown + table(head, rows, note=note, css="stacked")


def _frontier(scores: Scores, suite: Suite) -> Figure | None:
    placed = [(c, c.kl) for c in suite.cells.values() if c.kl is not None]
    if len(placed) < 2:
        return None
    middle = sum(kl.estimate for _, kl in placed) / len(placed)
    traces = [
        labelled_dot(
            (kl.estimate, cell.mean),
            cell.model,
            colour_of(scores, cell.model),
            on_left=kl.estimate > middle,
        )
        for cell, kl in placed
    ]
    layout = {"xaxis": axis("KL to the reference (nats)"), "yaxis": axis("gold score")}
    return Figure(
        id=anchor("fig", "frontier", suite.stage, suite.task),
        title=f"Gold score against distance, {suite.label}",
        traces=traces,
        layout=layout,
        height=340,
        caption="Up is better, left is closer to the reference. Whiskers: 95 % intervals.",
    )


def _landscape_row(run: RunFiles, cell: Cell, numbers: Numbers) -> list[object]:
    at = cell.key
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
