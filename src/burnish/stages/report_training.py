"""One section a stage: how it went, what it trained on, its knobs, what it dropped."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from burnish.errors import RunError
from burnish.metrics import declared
from burnish.pipeline.recipe import dotted
from burnish.pipeline.source import Source
from burnish.stages.report_figures import Points, curve, mean_of
from burnish.stages.report_files import Row, RunFiles, StageFiles
from burnish.stages.report_markup import (
    EMPTY,
    Figure,
    anchor,
    details,
    figures,
    join,
    source_note,
    table,
    tag,
    trained_spans,
)
from burnish.stages.report_numbers import COUNT, SECONDS, SIGNIFICANT, Numbers
from burnish.stages.report_scores import finite

SHOWN_ALWAYS = ("rl/kl", "rl/exact_kl", "rl/entropy", "rl/length", "train/grad_norm")
"""Curves shown open besides those where a direction is better and those of a reward's parts; the
others are a click away."""

MAX_SAMPLES = 8

COLUMNS = (
    "step", "model", "prompt", "completion", "a", "b", "winner", "chosen", "rejected", "score",
    "chosen_score", "rejected_score", "why",
)  # fmt: skip
"""Fields of a sample that the page shows, in this order, where a row has them."""

TEXTS = frozenset({"completion", "a", "chosen"})
"""Samples are shown if they have one of these."""

TRIAL = "env/trial"
_TAIL_SHARE = 0.1


def stage_block(run: RunFiles, stage: StageFiles, numbers: Numbers) -> Markup:
    """Everything about one stage."""
    head = Markup(
        '<h3 id="{}">{} <span class="badge">{}</span> <span class="badge {}">{}</span></h3>'
    ).format(anchor("stage", stage.name), stage.name, stage.type, _css(stage), stage.status)
    parts = [head, _facts(stage, numbers)]
    if stage.type == "control" and stage.status == "finished":
        parts.append(_control(run, stage))
    if stage.metrics:
        parts.append(_curves(stage))
        parts.append(details("first, last and final mean of every metric", _ends(stage, numbers)))
    parts.append(_first_batch(stage))
    parts.append(_samples(stage))
    parts.append(_config(run, stage))
    return Markup('<section class="stage">{}</section>').format(join(parts))


def _css(stage: StageFiles) -> str:
    return {"finished": "up", "unfinished": "down"}.get(stage.status, "flat")


def _facts(stage: StageFiles, numbers: Numbers) -> Markup:
    facts = []
    if stage.reads:
        facts.append(Markup("reads {}").format(", ".join(stage.reads)))
    if stage.seconds is not None:
        took = numbers.show(
            f"seconds/{stage.name}",
            stage.seconds,
            SECONDS,
            stage.path("stage.json"),
            "wall time",
        )
        facts.append(Markup("took {}").format(took))
    if stage.artifacts:
        made = ", ".join(f"{a.name} ({a.kind})" for a in stage.artifacts)
        facts.append(Markup("made {}").format(made))
    return tag("p", Markup(" · ").join(facts), "facts") if facts else EMPTY


def metric_names(stage: StageFiles) -> list[str]:
    """The stage's metrics, the most telling first."""
    names = dict.fromkeys(
        key
        for row in stage.metrics
        for key, value in row.items()
        if key not in ("step", TRIAL) and finite(value) is not None
    )
    better = {n: bool(declared(n).better) for n in names}
    return sorted(names, key=lambda n: (not better[n], not _is_telling(n)))


def _is_telling(name: str) -> bool:
    return bool(declared(name).better) or name in SHOWN_ALWAYS or name.startswith("rl/reward/")


def _points(stage: StageFiles, name: str) -> dict[str, Points]:
    """The metric's line, or one for each independent training that the stage made."""
    lines: dict[str, list[Row]] = {}
    for row in stage.metrics:
        if name in row:
            trial = finite(row.get(TRIAL))
            lines.setdefault("value" if trial is None else f"trial {trial:g}", []).append(row)
    return {
        line: (_steps(rows, from_zero=len(lines) > 1), [finite(r.get(name)) for r in rows])
        for line, rows in lines.items()
    }


def _steps(rows: Sequence[Row], *, from_zero: bool) -> list[float]:
    steps = [float(i) if (s := finite(r.get("step"))) is None else s for i, r in enumerate(rows)]
    return [s - steps[0] for s in steps] if from_zero else steps


def _figure(stage: StageFiles, name: str) -> Figure:
    metric = declared(name)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.better, "")
    meaning = metric.meaning[:1].upper() + metric.meaning[1:] + "." if metric.meaning else ""
    unit = metric.unit or name.rpartition("/")[2].replace("_", " ")
    key = anchor("fig", stage.name, name)
    return curve(key, name + arrow, _points(stage, name), unit=unit, caption=meaning)


def _curves(stage: StageFiles) -> Markup:
    curved = [n for n in metric_names(stage) if _num_points(stage, n) > 1]
    telling = [_figure(stage, n) for n in curved if _is_telling(n)]
    others = [_figure(stage, n) for n in curved if not _is_telling(n)]
    note = source_note(stage.path("metrics.jsonl"))
    shown = figures(telling or others, note, "small")
    if telling and others:
        shown += details(f"{len(others)} other curves", figures(others, note, "small"))
    return shown


def _num_points(stage: StageFiles, name: str) -> int:
    return max(len(steps) for steps, _ in _points(stage, name).values())


def _ends(stage: StageFiles, numbers: Numbers) -> Markup:
    source = stage.path("metrics.jsonl")

    def row(name: str) -> list[object]:
        values = [v for r in stage.metrics if (v := finite(r.get(name))) is not None]
        tail = values[-max(1, round(_TAIL_SHARE * len(values))) :]
        at, metric = f"metric/{stage.name}/{name}", declared(name)
        return [
            name,
            numbers.show(f"{at}/n", len(values), COUNT, source, "values"),
            numbers.show(f"{at}/first", values[0], SIGNIFICANT, source, "first value"),
            numbers.show(f"{at}/last", values[-1], SIGNIFICANT, source, "last value"),
            numbers.show(
                f"{at}/final",
                mean_of(tail),
                SIGNIFICANT,
                source,
                f"mean of the last {len(tail)} values",
            ),
            metric.unit or "–",
            metric.meaning,
        ]

    head = ["metric", "values", "first", "last", "mean of last 10 %", "unit", "meaning"]
    return table(head, (row(n) for n in metric_names(stage)), note=source_note(source), css="prose")


def _control(run: RunFiles, stage: StageFiles) -> Markup:
    from burnish.stages.control_figures import control_figures

    try:
        listed = control_figures(run.dir / stage.folder)
    except RunError as error:
        run.problems.append(str(error))
        return EMPTY
    shown = []
    for number, made in enumerate(listed):
        figure = made["figure"]
        plain = figure if isinstance(figure, Mapping) else json.loads(figure.to_json())
        shown.append(
            Figure(
                id=anchor("fig", stage.name, str(number)),
                title=made["title"],
                traces=plain["data"],
                layout=plain.get("layout", {}),
                caption=made["caption"],
                height=320,
            )
        )
    return figures(shown, source_note(stage.folder))


def _first_batch(stage: StageFiles) -> Markup:
    found = [
        str(r["text"]) for r in stage.samples if r.get("kind") == "first_batch" and "text" in r
    ]
    if not found:
        return EMPTY
    legend = Markup('<p class="legend"><mark>highlighted</mark> tokens have a loss</p>')
    body = legend + join(trained_spans(text) for text in found[:MAX_SAMPLES])
    return details("first batch, with its loss mask", body + _note(stage), is_open=True)


def _samples(stage: StageFiles) -> Markup:
    rows = [r for r in stage.samples if r.get("kind") != "first_batch"]
    shown = _spread(rows)
    columns = [c for c in COLUMNS if any(c in row for row in shown)]
    if not TEXTS.intersection(columns):
        return EMPTY
    lines = [[_sample_cell(row.get(c)) for c in columns] for row in shown]
    body = table([c.replace("_", " ") for c in columns], lines, css="texts")
    return details(f"{len(shown)} of {len(rows)} samples, evenly spaced", body + _note(stage))


def _sample_cell(value: Any) -> object:
    if isinstance(value, str):
        return tag("pre", value)
    number = finite(value)
    return "–" if number is None else f"{number:.3g}"


def _spread(rows: Sequence[Row]) -> list[Row]:
    if len(rows) <= MAX_SAMPLES:
        return list(rows)
    return [rows[i * (len(rows) - 1) // (MAX_SAMPLES - 1)] for i in range(MAX_SAMPLES)]


def _note(stage: StageFiles) -> Markup:
    return source_note(stage.path("samples.jsonl"))


def _config(run: RunFiles, stage: StageFiles) -> Markup:
    sources = run.recipe.get("sources")
    sources = sources if isinstance(sources, Mapping) else {}
    flat = dict(flatten(stage.config))
    if not flat:
        return EMPTY

    known = dotted({stage.name: stage.config})
    said = {known[key.removeprefix("stages.")]: str(text) for key, text in sources.items()
            if key.removeprefix("stages.") in known}  # fmt: skip

    def why(key: str) -> Source | None:
        """That of the key, or of the mapping that it is in."""
        while key:
            if text := said.get(f"{stage.name}.{key}"):
                return Source.from_text(text)
            key = key.rpartition(".")[0]
        return None

    found = {key: why(key) for key in flat}
    columns = ("unit", "status", "where the value comes from") if any(found.values()) else ()
    rows = [
        [tag("code", key), tag("code", value), *(_source_cells(found[key]) if columns else [])]
        for key, value in flat.items()
    ]
    head = ["key", "value", *columns]
    note = source_note(stage.path("config.json") if stage.folder else "recipe.yaml")
    return details("configuration", table(head, rows, note=note, css="config"))


def _source_cells(source: Source | None) -> list[object]:
    if source is None:
        return ["", "", ""]
    status = source.status.replace("_", " ")
    return [source.unit, status, source.where]


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Dotted keys with their values as text."""
    if isinstance(value, Mapping) and value:
        return [
            pair
            for key, below in value.items()
            for pair in flatten(below, f"{prefix}.{key}" if prefix else str(key))
        ]
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(prefix, shown)]
