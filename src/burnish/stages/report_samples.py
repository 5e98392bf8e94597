"""The same problems answered by every model, in columns."""

import hashlib
from collections.abc import Iterator

from markupsafe import Markup

from burnish.stages.report_files import Row
from burnish.stages.report_markup import EMPTY, Section, details, join, source_note, tag
from burnish.stages.report_scores import Scores, finite

PICKED = 3
"""Problems shown for each task, besides the largest gain and loss."""


def samples_section(scores: Scores) -> Section | None:
    """Prompt and completions for each task that has texts."""
    tasks = [t for t in scores.tasks if any("completion" in r for r in _rows(scores, t))]
    if not tasks:
        return None
    intro = tag(
        "p",
        f"{PICKED} problems of each task were picked by a hash of their id, not by how they look. "
        "Then come the largest gain and the largest loss of the last model over the start.",
    )
    body = join(_task_samples(scores, task, is_open=i == 0) for i, task in enumerate(tasks))
    return Section(id="samples", title="The same problem, side by side", body=intro + body)


def _rows(scores: Scores, task: str) -> Iterator[Row]:
    return (row for at, rows in scores.rows.items() if at[1] == task for row in rows)


def _task_samples(scores: Scores, task: str, *, is_open: bool) -> Markup:
    cells = scores.of_task(task)
    last, start = cells[-1], scores.cells[scores.starts[task], task]
    ids = sorted(start.values, key=lambda p: hashlib.sha256(p.encode()).digest())
    picked = [(problem, "picked by hash") for problem in ids[:PICKED]]
    gaps = {p: last.values[p] - start.values[p] for p in ids if p in last.values}
    for problem, _ in picked:
        gaps.pop(problem, None)
    if last.model != start.model and gaps:
        best, worst = max(gaps, key=gaps.__getitem__), min(gaps, key=gaps.__getitem__)
        if gaps[best] > 0:
            picked.append((best, f"largest gain of {last.model} over {start.model}"))
        if gaps[worst] < 0:
            picked.append((worst, f"largest loss of {last.model} to {start.model}"))
    body = join(_side_by_side(scores, task, problem, why) for problem, why in picked)
    note = source_note(*(c.source for c in cells))
    return details(tag("b", task), body + note, is_open=is_open)


def _side_by_side(scores: Scores, task: str, problem: str, why: str) -> Markup:
    columns, prompt = [], ""
    for model in scores.models:
        found = [r for r in scores.rows.get((model, task), ()) if str(r.get("problem")) == problem]
        if found:
            prompt = prompt or str(found[0].get("prompt", ""))
            columns.append(_completion(model, found[0]))
    head = Markup('<p class="why">{}</p><pre class="prompt">{}</pre>').format(why, prompt)
    return Markup('<article class="problem">{}<div class="columns">{}</div></article>').format(
        head, join(columns)
    )


def _completion(model: str, row: Row) -> Markup:
    passed, score = row.get("passed"), finite(row.get("score"))
    verdict = ("passed" if passed else "failed") if isinstance(passed, bool) else ""
    if not verdict:
        verdict = "unscored" if score is None else f"score {score:.2f}"
    css = {"passed": "up", "failed": "down"}.get(verdict, "flat")
    cut = tag("span", "cut at limit", "badge") if row.get("finish") == "length" else EMPTY
    text = str(row.get("completion", ""))
    shown = tag("pre", text) if text else tag("pre", "(empty)", "quiet")
    return Markup(
        '<div class="column"><h4>{} <span class="badge {}">{}</span>{}</h4>{}</div>'
    ).format(model, css, verdict, cut, shown)
