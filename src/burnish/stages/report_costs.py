"""The header, and the sections on cost, on what was dropped, and on where everything came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from burnish.stages.report_files import Row, RunFiles, StageFiles
from burnish.stages.report_markup import EMPTY, Section, details, join, source_note, table, tag
from burnish.stages.report_numbers import (
    COUNT,
    LARGE,
    PERCENT,
    SECONDS,
    SIGNIFICANT,
    Numbers,
    Value,
)
from burnish.stages.report_scores import finite
from burnish.stages.report_summary import total_seconds, total_spent

COMMIT_DIGITS = 12
SPENT = {"sampled_tokens": "sampled", "trained_tokens": "trained", "scored_tokens": "scored"}


@dataclass(frozen=True, slots=True)
class Digest:
    """The first digits of a SHA-256; the whole stays beside it."""

    def text(self, value: Value) -> str:
        return str(value)[:16]


def header(run: RunFiles, numbers: Numbers) -> Markup:
    """Name, state, machine, versions, seed, time."""
    done = all(s.status == "finished" for s in run.stages)
    session = run.sessions[-1] if run.sessions else {}
    facts: list[tuple[str, object]] = [
        ("started", _started(run)),
        ("time in stages", total_seconds(run, numbers)),
        ("seed", numbers.show("seed", run.recipe.get("seed"), COUNT, "recipe.yaml", "seed")),
        ("machine", _machine(session)),
        ("system", session.get("platform", "–")),
        ("versions", _versions(session)),
        ("commit", str(session.get("commit") or "–")[:COMMIT_DIGITS]),
    ]
    if len(run.sessions) > 1:
        times = numbers.show("sessions", len(run.sessions), COUNT, "env.json", "starts")
        facts.insert(1, ("started or resumed", Markup("{} times").format(times)))
    listed = join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(k, v) for k, v in facts)
    description = run.recipe.get("description")
    return Markup(
        '<header><p class="kicker">Burnish · report of a run</p><h1>{} <span class="badge {}">{}'
        "</span></h1>{}<dl>{}</dl></header>"
    ).format(
        run.name,
        "up" if done else "down",
        "complete" if done else "not complete",
        tag("p", description, "lead") if description else EMPTY,
        listed,
    )


def _started(run: RunFiles) -> str:
    started = finite(run.sessions[0].get("started")) if run.sessions else None
    if started is None:
        return "–"
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _machine(session: Row) -> str:
    memory = finite(session.get("memory_bytes"))
    parts = [
        str(session.get("cpu") or ""),
        f"{session['cores']} cores" if "cores" in session else "",
        f"{memory / 2**30:.0f} GiB" if memory else "",
        f"models on {session['device']}" if "device" in session else "",
    ]
    return ", ".join(p for p in parts if p) or "–"


def _versions(session: Row) -> str:
    versions = session.get("versions")
    versions = versions if isinstance(versions, Mapping) else {}
    named = [f"Python {session['python']}"] if "python" in session else []
    return ", ".join([*named, *(f"{k} {v}" for k, v in versions.items())]) or "–"


def cost_section(run: RunFiles, numbers: Numbers) -> Section:
    """Seconds and tokens of every stage."""

    def row(stage: StageFiles) -> list[object]:
        return [
            stage.name,
            stage.type,
            stage.status,
            numbers.show(
                f"seconds/{stage.name}",
                stage.seconds,
                SECONDS,
                stage.path("stage.json"),
                "wall time",
            ),
            *(spent_html(stage, key, numbers) for key in SPENT),
        ]

    totals: list[object] = [
        numbers.show(f"total/{key}", total_spent(run, key), LARGE, "stages/*/tallies.json", "sum")
        for key in SPENT
    ]
    rows = [row(s) for s in run.stages]
    rows.append([tag("b", "all stages"), "", "", total_seconds(run, numbers), *totals])
    head = ["stage", "type", "state", "wall time", *(f"{v} (tokens)" for v in SPENT.values())]
    note = source_note("stages/*/stage.json", "stages/*/tallies.json")
    return Section(id="cost", title="What it cost", body=table(head, rows, note=note))


def spent_html(stage: StageFiles, key: str, numbers: Numbers) -> Markup:
    """Tokens of one kind that a stage spent."""
    return numbers.show(
        f"spent/{stage.name}/{key}",
        finite(stage.spent.get(key)),
        LARGE,
        stage.path("tallies.json"),
        key.replace("_", " "),
    )


def dropped_section(run: RunFiles, numbers: Numbers) -> Section:
    """Everything that was dropped or truncated, other tallies, remarks, and unreadable files."""
    counts = [(s, r, c) for s in run.stages for r, c in _part(s, "counts").items()]
    values = [(s, k, v) for s in run.stages for k, v in _part(s, "values").items()]
    notes = [(s, n) for s in run.stages for n in _part(s, "notes").values()]
    body = tag("p", "No stage dropped or truncated anything.")
    if counts:
        rows = [_count_row(s, reason, count, numbers) for s, reason, count in counts]
        note = source_note("stages/*/tallies.json")
        body = table(["stage", "what, and why", "how many", "of", "share"], rows, note=note)
    if values:
        shown = [
            [
                s.name,
                key.replace("_", " "),
                numbers.show(
                    f"tally/{s.name}/{key}", finite(v), SIGNIFICANT, s.path("tallies.json"), key
                ),
            ]
            for s, key, v in values
        ]
        body += tag("h3", "Other tallies") + table(["stage", "what", "value"], shown)
    if notes:
        lines = join(Markup("<li><b>{}</b>: {}</li>").format(s.name, n) for s, n in notes)
        body += tag("h3", "Remarks of the stages") + tag("ul", lines)
    if run.problems:
        lines = join(tag("li", p) for p in run.problems)
        body += tag("h3", "Files that could not be read") + tag("ul", lines, "problems")
    return Section(id="dropped", title="What was dropped or truncated", body=body)


def _part(stage: StageFiles, key: str) -> Mapping[str, Any]:
    part = stage.tallies.get(key)
    return part if isinstance(part, Mapping) else {}


def _count_row(stage: StageFiles, reason: str, count: Any, numbers: Numbers) -> list[object]:
    count = count if isinstance(count, Mapping) else {"n": count}
    n, of = finite(count.get("n")), finite(count.get("of"))
    at, source = f"dropped/{stage.name}/{reason}", stage.path("tallies.json")
    share: object = "–"
    if n is not None and of:
        share = numbers.show(f"{at}/share", n / of, PERCENT, source, "share")
    return [
        stage.name,
        reason,
        numbers.show(at, n, COUNT, source, reason),
        numbers.show(f"{at}/of", of, COUNT, source, "out of"),
        share,
    ]


def files_section(run: RunFiles, numbers: Numbers) -> Section:
    """Checksums of all that the report was made from, and of the artifacts; and the recipe."""
    hashes = {path: (digest, path, "SHA-256 when read") for path, digest in run.hashes.items()}
    for stage in run.stages:
        for artifact in stage.artifacts:
            listed = (artifact.sha256, stage.path("stage.json"), "SHA-256 when written")
            hashes[artifact.path] = listed
    rows = [
        [tag("code", path), tag("code", numbers.show(f"file:{path}", value, Digest(), source, how))]
        for path, (value, source, how) in sorted(hashes.items())
    ]
    intro = tag(
        "p",
        Markup(
            "<code>burnish check RUN</code> computes every number on this page again from these "
            "files and compares."
        ),
    )
    recipe = run.text("recipe.yaml") or ""
    body = intro + details(
        f"{len(rows)} files with their SHA-256", table(["file", "SHA-256"], rows)
    )
    body += details("the resolved recipe", tag("pre", recipe, "recipe"))
    return Section(id="files", title="Where it all comes from", body=body)
