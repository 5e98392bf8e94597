"""The same problems answered by every model, in columns."""

import hashlib
from collections.abc import Iterator

from markupsafe import Markup

from burnish.stages.report_files import Row
from burnish.stages.report_markup import EMPTY, Section, details, join, source_note, tag
from burnish.stages.report_scores import Scores, Suite, finite

PICKED = 3
"""Problems shown for each task, besides the largest gain and loss."""


def samples_section(scores: Scores) -> Section | None:
    """Prompt and completions for each task that has texts."""
    suites = [s for s in scores.firsts() if any("completion" in r for r in _rows(s))]
    if not suites:
        return None
    intro = tag(
        "p",
        f"{PICKED} problems of each task were picked by a hash of their id, not by how they look. "
        "Then come the largest gain and the largest loss of the last model over the start.",
    )
    body = join(_suite_samples(suite, is_open=i == 0) for i, suite in enumerate(suites))
    return Section(id="samples", title="The same problem, side by side", body=intro + body)


def _rows(suite: Suite) -> Iterator[Row]:
    return (row for rows in suite.rows.values() for row in rows)


def _suite_samples(suite: Suite, *, is_open: bool) -> Markup:
    cells = list(suite.cells.values())
    last, start = cells[-1], suite.cells[suite.start]
    ids = sorted(start.values, key=lambda p: hashlib.sha256(p.encode("utf-8", "replace")).digest())
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
    body = join(_side_by_side(suite, problem, why) for problem, why in picked)
    note = source_note(*(c.source for c in cells))
    return details(tag("b", suite.label), body + note, is_open=is_open)


def _side_by_side(suite: Suite, problem: str, why: str) -> Markup:
    columns, prompt = [], ""
    for model, rows in suite.rows.items():
        found = [r for r in rows if str(r.get("problem")) == problem]
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
