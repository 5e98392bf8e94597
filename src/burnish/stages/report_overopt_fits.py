"""Over-optimisation in numbers: Gao et al.'s laws fitted to gold, and symptoms over distance."""

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from burnish.errors import DataError
from burnish.evals.fits import Resampled, resample_overoptimization
from burnish.evals.stats import Interval, mean_interval
from burnish.evals.symptoms import SYMPTOMS
from burnish.stages.overopt_series import Series
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_markup import (
    EMPTY,
    Figure,
    Finding,
    anchor,
    figures,
    source_note,
    table,
    tag,
)
from burnish.stages.report_models import direction
from burnish.stages.report_numbers import GAIN, PERCENT, SCORE, SIGNIFICANT, Numbers
from burnish.stages.report_scores import by_problem, paired

TITLES = {
    "words": "words",
    "repeated": "repeated word triples (share)",
    "agrees": "openings that agree or praise (share)",
    "refuses": "openings that decline (share)",
}


def fits_html(found: Sequence[Series], numbers: Numbers) -> Markup:
    """alpha, beta and the peak of every series with at least three points away from the start."""
    rows = [row for series in found if (row := _fit_row(series, numbers)) is not None]
    if not rows:
        return EMPTY
    intro = tag(
        "p",
        "Gold, less the start's, fitted over the distance d = √KL: d (α − β d) for best of n, "
        "d (α − β log d) for training (Gao et al. 2022, section 3). Intervals are of percentiles "
        "over resampled prompts: points of a curve share theirs. A peak beyond the last point is "
        "an extrapolation; where few resamples have one, no peak is shown by these data.",
    )
    head = ["series", "α", "β", "peak (√nats)", "last point (√nats)", "resamples with a peak", "R²"]
    return tag("h3", "Fitted curves") + intro + table(head, rows)


def _fit_row(series: Series, numbers: Numbers) -> list[object] | None:
    fit = _fit(series)
    if fit is None:
        return None
    at, source = f"overopt/{series.stage}/{series.name}/fit", series.source
    form = "d (α − β d)" if series.is_best_of_n else "d (α − β log d)"
    peak: object = "none"
    if fit.peak is not None:
        how = "distance of the fitted curve's peak"
        peak = numbers.interval(f"{at}/peak", fit.peak, SCORE, source, how)
    return [
        series.label,
        *(
            numbers.interval(f"{at}/{name}", value, GAIN, source, f"{name} of {form}")
            for name, value in fit.values.items()
        ),
        peak,
        numbers.show(
            f"{at}/last",
            math.sqrt(max(series.points[-1].kl, 0.0)),
            SCORE,
            source,
            "distance of the last point",
        ),
        numbers.show(f"{at}/peaked", fit.peaked, PERCENT, source, "share of resamples"),
        numbers.show(f"{at}/r_squared", fit.r_squared, SIGNIFICANT, source, "R squared"),
    ]


def _fit(series: Series) -> Resampled | None:
    """None where the points do not suffice."""
    start = by_problem(series.start, "gold", "prompt")
    xs = [x for x in sorted(series.rows) if not (series.is_best_of_n and x == 1)]
    gold = [by_problem(series.rows[x], "gold", "prompt") for x in xs]
    kl = [by_problem(series.rows[x], "kl", "prompt") for x in xs]
    known = [p for p in start if all(p in g and p in k for g, k in zip(gold, kl, strict=True))]
    if not known:
        return None
    try:
        return resample_overoptimization(
            [[k[p] for p in known] for k in kl],
            [[g[p] - start[p] for p in known] for g in gold],
            form="bon" if series.is_best_of_n else "rl",
        )
    except DataError:  # fewer than three points away from the start
        return None


def symptoms_html(found: Sequence[Series], numbers: Numbers) -> Markup:
    """What completions look like on the way, where the study measured it."""
    measured = [series for series in found if _measured(series)]
    if not measured:
        return EMPTY
    intro = tag(
        "p",
        "Each symptom is counted by a rule that anyone can read (burnish/evals/symptoms.py): "
        "agreement and refusal are lists of opening words, and see no more than that. Changes are "
        "of the last point less the start, on the same prompts.",
    )
    rows = [
        [
            series.label,
            *(_change_html(series, name, numbers) for name in SYMPTOMS),
        ]
        for series in measured
    ]
    head = ["series", *(TITLES[name] for name in SYMPTOMS)]
    note = source_note(*(s.source for s in measured))
    shown = figures([_figure(measured, name) for name in SYMPTOMS], note, "small")
    return tag("h3", "Symptoms") + intro + shown + table(head, rows)


def symptom_findings(found: Sequence[Series], numbers: Numbers) -> Iterator[Finding]:
    """One line for each series in which a symptom changed."""
    for series in found:
        if not _measured(series):
            continue
        changed = [name for name in SYMPTOMS if direction(_change(series, name)) in ("up", "down")]
        if changed:
            listed = Markup(", ").join(
                Markup("{} by {}").format(TITLES[name], _change_html(series, name, numbers))
                for name in changed
            )
            text = Markup("Symptoms: with <b>{}</b> the last point changed {}.")
            yield Finding(text=text.format(series.label, listed))


def _measured(series: Series) -> bool:
    return all(name in row for rows in series.rows.values() for row in rows for name in SYMPTOMS)


def _change(series: Series, name: str) -> Interval:
    last = series.rows[max(series.rows)]
    return paired(by_problem(last, name, "prompt"), by_problem(series.start, name, "prompt"))


def _change_html(series: Series, name: str, numbers: Numbers) -> Markup:
    return numbers.interval(
        f"overopt/{series.stage}/{series.name}/symptom/{name}",
        _change(series, name),
        GAIN,
        series.source,
        f"{TITLES[name]} at the last point less the start's, on the same prompts",
    )


def _figure(found: Sequence[Series], name: str) -> Figure:
    traces = []
    for number, series in enumerate(found):
        x = [math.sqrt(max(p.kl, 0.0)) for p in series.points]
        values = [
            mean_interval(list(by_problem(series.rows[p.x], name, "prompt").values()), binary=False)
            for p in series.points
        ]
        colour = f"@{number % 8}"
        traces += [
            band(x, values, colour),
            line(
                x,
                [v.estimate for v in values],
                name=series.label,
                colour=colour,
                hover=f"√KL %{{x:.2f}}: {name} %{{y:.3g}}",
            ),
        ]
    layout = {
        "xaxis": axis("distance √KL (√nats)", rangemode="tozero"),
        "yaxis": axis(TITLES[name], rangemode="tozero"),
    }
    return Figure(
        id=anchor("fig", "symptom", found[0].stage, name),
        title=TITLES[name].capitalize(),
        traces=traces,
        layout=layout,
        height=300,
    )
