"""The page around the sections: one file that opens anywhere, without a network.

Plotly's script and ours are inlined once and allowed by their hashes; the policy lets nothing else
run and nothing be fetched, so that even a mistake in escaping could not execute text from a model.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from markupsafe import Markup

from burnish.stages.report_markup import Section, join, json_block
from burnish.stages.report_numbers import Numbers

_PAGE = Markup(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="{generator}">
<title>{title} · Burnish</title>
<style>{style}</style>
</head>
<body>
<nav aria-label="contents"><a class="brand" href="#top">Burnish</a>
<details open><summary>Contents</summary><ol>{contents}</ol></details></nav>
<main id="top">
{head}
<noscript><p>Figures need JavaScript; every number is in the tables too.</p></noscript>
{body}
</main>
<div id="tip" role="tooltip" hidden></div>
{numbers}
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""
)


def page(
    title: str, generator: str, head: Markup, sections: Sequence[Section], numbers: Numbers
) -> str:
    """The whole document."""
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), _asset("report_page.js")
    contents = join(Markup('<li><a href="#{}">{}</a></li>').format(s.id, s.title) for s in sections)
    body = join(
        Markup('<section id="{}" class="part"><h2>{}</h2>\n{}</section>\n').format(
            s.id, s.title, s.body
        )
        for s in sections
    )
    hows = {key: [n.how, n.source] for key, n in numbers.entries.items()}
    html = str(
        _PAGE.format(
            policy=_policy(plotly, script),
            generator=generator,
            title=title,
            style=Markup(_asset("report_page.css")),
            contents=contents,
            head=head,
            body=body,
            numbers=json_block("numbers", hows),
            plotly=Markup(plotly),
            script=Markup(script),
        )
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair has no bytes


def _policy(*scripts: str) -> str:
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files("burnish.stages").joinpath(name).read_text(encoding="utf-8")
