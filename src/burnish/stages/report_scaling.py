"""Inference-time scaling: what more samples per problem buy, with and without a verifier."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_fits import fits_table
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
from burnish.stages.report_models import direction
from burnish.stages.report_numbers import COUNT, LARGE, PERCENT, Numbers
from burnish.stages.report_pools import Budget, Scaling


def scaling_section(found: Sequence[Scaling], numbers: Numbers) -> Section | None:
    """pass@k and majority vote over k and over tokens."""
    if not found:
        return None
    intro = tag(
        "p",
        "pass@k is the chance that at least one of k samples is right (unbiased, from all samples "
        "of a problem); majority@k the chance that a vote among k picks the right answer, ties "
        "split evenly; samples without an answer vote together for a wrong one. Bands are 95 % "
        "intervals over problems. The gap between the two is what a perfect verifier would add. "
        "best@k by a reward model is how often the one of k that it scores highest is right; in a "
        "weighted vote each sample counts by the probability that the reward model gives it. "
        "Tokens are those sampled, without what the reward model reads.",
    )
    shown = [
        _scaling_figure(found, "k", "samples per problem (k)"),
        _scaling_figure(found, "tokens", "sampled tokens per problem"),
    ]
    note = source_note(*(s.source for s in found))
    tables = join(_scaling_table(s, numbers) for s in found)
    return Section(
        id="scaling",
        title="Inference-time scaling",
        body=intro + figures(shown, note) + tables,
        findings=tuple(_finding(s, numbers) for s in found if len(s.budgets) > 1),
    )


def _scaling_figure(found: Sequence[Scaling], over: str, title: str) -> Figure:
    traces = []
    for number, scaling in enumerate(found):
        x = [float(b.k) if over == "k" else b.tokens for b in scaling.budgets]
        if any(math.isnan(v) for v in x):
            continue
        colour = f"@{number}"
        curves = [("pass@k", [b.coverage for b in scaling.budgets], "solid")]
        votes = [b.majority for b in scaling.budgets if b.majority is not None]
        curves += [("majority@k", votes, "dot")] if votes else []
        curves += [
            (f"best@k by {j}", [b.best[j] for b in scaling.budgets], "dash") for j in scaling.judges
        ]
        curves += [
            (f"weighted@k by {j}", [b.weighted[j] for b in scaling.budgets], "dashdot")
            for j in scaling.budgets[0].weighted
        ]
        for name, intervals, dash in curves:
            percent = [i.times(100) for i in intervals]
            hover = f"{over} %{{x:,.0f}}: %{{y:.1f}} %"
            traces += [
                band(x, percent, colour),
                line(
                    x,
                    [i.estimate for i in percent],
                    name=f"{scaling.model}, {name}",
                    colour=colour,
                    hover=hover,
                    dash=dash,
                ),
            ]
    layout = {
        "xaxis": axis(title, type="log", dtick="D2" if over == "tokens" else math.log10(2)),
        "yaxis": axis("problems solved (%)", rangemode="tozero"),
    }
    return Figure(
        id=anchor("fig", "scaling", over),
        title=f"Over {title.partition(' (')[0]}",
        traces=traces,
        layout=layout,
        height=340,
    )


def coverage_html(scaling: Scaling, budget: Budget, numbers: Numbers) -> Markup:
    """pass@k with its interval."""
    return numbers.interval(
        f"{_key(scaling, budget)}/coverage",
        budget.coverage,
        PERCENT,
        scaling.source,
        f"mean over problems of the unbiased pass@{budget.k}",
    )


def majority_html(scaling: Scaling, budget: Budget, numbers: Numbers) -> Markup:
    """majority@k with its interval; a dash where answers were not kept."""
    if budget.majority is None:
        return Markup("–")
    return numbers.interval(
        f"{_key(scaling, budget)}/majority",
        budget.majority,
        PERCENT,
        scaling.source,
        f"mean over problems of the expected majority vote of {budget.k}",
    )


def _best_html(scaling: Scaling, budget: Budget, judge: str, numbers: Numbers) -> Markup:
    return numbers.interval(
        f"{_key(scaling, budget)}/best/{judge}",
        budget.best[judge],
        PERCENT,
        scaling.source,
        f"mean over problems of the expected verdict on the best of {budget.k} by {judge}",
    )


def _weighted_html(scaling: Scaling, budget: Budget, judge: str, numbers: Numbers) -> Markup:
    return numbers.interval(
        f"{_key(scaling, budget)}/weighted/{judge}",
        budget.weighted[judge],
        PERCENT,
        scaling.source,
        f"mean over problems of the expected vote of {budget.k} weighted by {judge}",
    )


def k_html(scaling: Scaling, budget: Budget, numbers: Numbers) -> Markup:
    """k itself."""
    key = _key(scaling, budget)
    return numbers.show(key, budget.k, COUNT, scaling.source, "samples per problem")


def _key(scaling: Scaling, budget: Budget) -> str:
    return f"scaling/{scaling.stage}/{scaling.model}/{budget.k}"


def _finding(scaling: Scaling, numbers: Numbers) -> Finding:
    """What the largest k buys over the smallest."""
    first, last = scaling.budgets[0], scaling.budgets[-1]

    def shown(budget: Budget) -> Markup:
        return coverage_html(scaling, budget, numbers)

    text = Markup(
        "With {} samples a problem instead of {}, <b>{}</b> covers {} instead of {}"
    ).format(
        k_html(scaling, last, numbers),
        k_html(scaling, first, numbers),
        scaling.model,
        shown(last),
        shown(first),
    )
    if last.majority is None or first.majority is None or scaling.vote_gain is None:
        return Finding(text=text + ".")
    way = direction(scaling.vote_gain)
    verb = {"up": "lifts it to", "down": "lowers it to", "flat": "does not change it clearly:"}[way]
    vote = majority_html(scaling, last, numbers)
    text += Markup("; a majority vote <em>{}</em> {}.").format(verb, vote)
    return Finding(text=text, css=way)


def _scaling_table(scaling: Scaling, numbers: Numbers) -> Markup:
    def row(budget: Budget) -> list[object]:
        key = f"{_key(scaling, budget)}/tokens"
        return [
            k_html(scaling, budget, numbers),
            numbers.show(key, budget.tokens, LARGE, scaling.source, "mean tokens of k samples"),
            coverage_html(scaling, budget, numbers),
            majority_html(scaling, budget, numbers),
            *(_best_html(scaling, budget, judge, numbers) for judge in scaling.judges),
            *(_weighted_html(scaling, budget, judge, numbers) for judge in budget.weighted),
        ]

    head = ["k", "tokens", "pass@k", "majority@k", *(f"best@k by {j}" for j in scaling.judges)]
    head += [f"weighted@k by {j}" for j in scaling.budgets[0].weighted]
    shown = table(head, (row(b) for b in scaling.budgets))
    return tag("h3", scaling.model) + shown + fits_table(scaling.fits, numbers)
