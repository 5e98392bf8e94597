"""Pieces of the page: sections, tables, figures, marked-up text. Everything passed in is escaped.

Markup (of markupsafe) escapes whatever is formatted into it, so text from models and files cannot
become HTML anywhere.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

EMPTY = Markup("")
_TRAINED = re.compile(r"⟦(.*?)⟧", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A sentence with its numbers for the box at the top; `css` says which way it went."""

    text: Markup
    css: str = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page, listed in its table of contents."""

    id: str
    title: str
    body: Markup
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A Plotly figure as plain data; colours are names that the page's script resolves."""

    id: str
    title: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    caption: str = ""
    height: int = 300


def join(parts: Iterable[Markup]) -> Markup:
    """Pieces one after another."""
    return EMPTY.join(parts)


def tag(name: str, content: object, css: str = "") -> Markup:
    """One element. `name` and `css` are ours; `content` is escaped unless it is Markup."""
    attribute = Markup(' class="{}"').format(css) if css else EMPTY
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), attribute, content)


def source_note(*paths: str) -> Markup:
    """Where a table or figure came from."""
    files = Markup(", ").join(tag("code", p) for p in dict.fromkeys(paths) if p)
    return Markup('<p class="source">from {}</p>').format(files) if files else EMPTY


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], *, note: Markup = EMPTY, css: str = ""
) -> Markup:
    """A table that scrolls sideways where it must; the first column names the row."""
    headings = join(Markup('<th scope="col">{}</th>').format(h) for h in head)
    body = join(
        Markup('<tr><th scope="row">{}</th>{}</tr>\n').format(
            row[0], join(tag("td", cell) for cell in row[1:])
        )
        for row in rows
    )
    return Markup(
        '<div class="table {}" tabindex="0" role="region" aria-label="table"><table>'
        "<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>{}"
    ).format(css, headings, body, note)


def details(summary: object, body: Markup, *, is_open: bool = False) -> Markup:
    """Content that opens on a click."""
    shown = Markup("<details{}><summary>{}</summary>{}</details>")
    return shown.format(Markup(" open") if is_open else EMPTY, summary, body)


def figures(shown: Sequence[Figure], note: Markup = EMPTY, css: str = "") -> Markup:
    """Figures side by side, as many as fit."""
    if not shown:
        return EMPTY
    body = join(_figure(f) for f in shown)
    return Markup('<div class="figures {}">{}</div>{}').format(css, body, note)


def _figure(figure: Figure) -> Markup:
    caption = Markup("<span>{}</span>").format(figure.caption) if figure.caption else EMPTY
    return Markup(
        '<figure><figcaption><strong>{}</strong>{}</figcaption><div class="plot" id="{}" '
        'style="height:{}px" role="img" aria-label="{}"></div>{}</figure>'
    ).format(
        figure.title,
        caption,
        figure.id,
        figure.height,
        figure.title,
        json_block(f"{figure.id}-data", {"data": figure.traces, "layout": figure.layout}),
    )


def json_block(name: str, value: object) -> Markup:
    """Data for the page's script; `<` is escaped, so that no text can end the element."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup('<script type="application/json" id="{}">{}</script>').format(name, Markup(text))


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot_text(text: str) -> str:
    """Text for a figure: Plotly reads a little HTML, which data must not write."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def trained_spans(text: str) -> Markup:
    """Text whose trained spans stand between ⟦ and ⟧, with those spans highlighted."""
    parts, at = [], 0
    for match in _TRAINED.finditer(text):
        parts += [Markup.escape(text[at : match.start()]), tag("mark", match.group(1))]
        at = match.end()
    return tag("pre", join([*parts, Markup.escape(text[at:])]), "batch")


def anchor(*parts: str) -> str:
    """An id for the page from any text."""
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", p) for p in parts)
