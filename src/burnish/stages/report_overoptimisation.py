"""Over-optimisation: proxy and gold score over the distance from the start."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from burnish.stages.overopt_series import Point, Series
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_markup import (
    Figure,
    Finding,
    Section,
    anchor,
    figures,
    join,
    source_note,
    table,
    tag,
)
from burnish.stages.report_numbers import (
    GAIN,
    NATS,
    SCORE,
    SIGNIFICANT,
    Numbers,
)
from burnish.stages.report_overopt_fits import fits_html, symptom_findings, symptoms_html


def overoptimisation_section(found: Sequence[Series], numbers: Numbers) -> Section | None:
    """Proxy and gold over the distance from the start."""
    if not found:
        return None
    intro = tag(
        "p",
        "As a policy moves away from its start, the score it is optimised for keeps rising; the "
        "score that counts need not (Gao et al. 2022). Changes are from the start (best of n at "
        "n = 1 where there is one, else the first point), paired by prompt, in standard deviations "
        "of the start's scores over prompts; bands are 95 % intervals. For best of n the "
        "distance is the bound log n − (n−1)/n unless the study "
        "measured it.",
    )
    shown = [_divergence(series) for series in found]
    shown += [_golds(found)] if len(found) > 1 else []
    note = source_note(*(s.source for s in found))
    tables = join(_series_table(series, numbers) for series in found)
    body = intro + figures(shown, note, "small") + fits_html(found, numbers)
    body += symptoms_html(found, numbers) + tables
    return Section(
        id="overoptimisation",
        title="Over-optimisation",
        body=body,
        findings=(
            *(_finding(series, numbers) for series in found),
            *symptom_findings(found, numbers),
        ),
    )


def _divergence(series: Series) -> Figure:
    x = [math.sqrt(max(p.kl, 0.0)) for p in series.points]
    traces = []
    for name, changes, spread, colour, dash in (
        ("proxy", [p.proxy_change for p in series.points], series.proxy_spread, "@1", "dot"),
        ("gold", [p.gold_change for p in series.points], series.gold_spread, "@0", "solid"),
    ):
        scaled = [c.times(1 / spread if spread > 0 else 1.0) for c in changes]
        hover = f"√KL %{{x:.2f}}: {name} %{{y:+.2f}}"
        traces += [
            band(x, scaled, colour),
            line(x, [c.estimate for c in scaled], name=name, colour=colour, hover=hover, dash=dash),
        ]
    unit = "SD" if series.gold_spread and series.proxy_spread else "score"
    layout = {
        "xaxis": axis("distance √KL (√nats)", rangemode="tozero"),
        "yaxis": axis(f"change from start ({unit})"),
    }
    return Figure(
        id=anchor("fig", "overopt", series.stage, series.name),
        title=series.label,
        traces=traces,
        layout=layout,
        height=330,
    )


def _golds(found: Sequence[Series]) -> Figure:
    traces = []
    for number, series in enumerate(found):
        x = [math.sqrt(max(p.kl, 0.0)) for p in series.points]
        colour = f"@{number + 2}"
        traces += [
            band(x, [p.gold for p in series.points], colour),
            line(
                x,
                [p.gold.estimate for p in series.points],
                name=series.label,
                colour=colour,
                hover="√KL %{x:.2f}: gold %{y:.3f}",
            ),
        ]
    layout = {
        "xaxis": axis("distance √KL (√nats)", rangemode="tozero"),
        "yaxis": axis("gold score"),
    }
    return Figure(
        id=anchor("fig", "overopt-gold", found[0].stage),
        title="Gold at the same distance",
        traces=traces,
        layout=layout,
        height=330,
    )


def change_html(series: Series, point: Point, which: str, numbers: Numbers) -> Markup:
    """How far proxy or gold moved from the start."""
    change = point.proxy_change if which == "proxy" else point.gold_change
    return numbers.interval(
        f"overopt/{series.stage}/{series.name}/{point.x:g}/{which}_change",
        change,
        GAIN,
        series.source,
        f"{which} minus the start's {which} on the same prompts",
    )


def fall_html(series: Series, numbers: Numbers) -> Markup:
    """How gold changed from its peak to the last point."""
    return numbers.interval(
        f"overopt/{series.stage}/{series.name}/fall",
        series.fall,
        GAIN,
        series.source,
        "gold at the last point minus gold at its highest point, on the same prompts",
    )


def _finding(series: Series, numbers: Numbers) -> Finding:
    """How far proxy and gold moved, and whether gold fell from its peak."""
    first, last = series.points[0], series.points[-1]
    text = Markup("Optimising with <b>{}</b> moved the proxy by {} and gold by {}").format(
        series.label,
        change_html(series, last, "proxy", numbers),
        change_html(series, last, "gold", numbers),
    )
    if series.peak is last or len(series.points) < 2:
        ending = Markup("; gold was highest at the last point, so no over-optimisation is shown")
        css = "up" if last.gold_change.low > 0 else "flat"
        return Finding(text=text + ending + ".", css=css)
    where = numbers.show(
        f"overopt/{series.stage}/{series.name}/{series.peak.x:g}",
        series.peak.x,
        SIGNIFICANT,
        series.source,
        "n, or the step",
    )
    unit = "n" if series.is_best_of_n else "step"
    fell = series.fall.high < 0
    css = "down" if fell else "flat"
    said = "over-optimisation is visible" if fell else "no fall is shown"
    text += Markup(
        "; gold peaked at {} = {}{} and then changed by {}: <em>{}</em> (the peak was picked after "
        "looking, which overstates a fall)."
    ).format(
        unit,
        where,
        " (the first point)" if series.peak is first else "",
        fall_html(series, numbers),
        said,
    )
    return Finding(text=text, css=css)


def _series_table(series: Series, numbers: Numbers) -> Markup:
    first = series.points[0] if series.is_best_of_n else None

    def row(point: Point) -> list[object]:
        at, source = f"overopt/{series.stage}/{series.name}/{point.x:g}", series.source
        return [
            numbers.show(at, point.x, SIGNIFICANT, source, "n, or the step"),
            numbers.show(f"{at}/kl", point.kl, NATS, source, "mean KL over rows"),
            numbers.interval(f"{at}/proxy", point.proxy, SCORE, source, "mean proxy"),
            numbers.interval(f"{at}/gold", point.gold, SCORE, source, "mean gold"),
            "–" if point is first else change_html(series, point, "gold", numbers),
        ]

    step = "n" if series.is_best_of_n else "step"
    head = [step, "KL (nats)", "proxy", "gold", "gold, change from start"]
    return tag("h3", series.label) + table(head, (row(p) for p in series.points))
