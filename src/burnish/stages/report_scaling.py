"""Inference-time scaling: what more samples per problem buy, with and without a verifier."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from burnish.evals.stats import (
    Interval,
    expected_best_of_n,
    majority_at_k,
    mean_interval,
    paired_interval,
    pass_at_k,
)
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_files import Row, RunFiles
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
from burnish.stages.report_scores import finite

NO_ANSWER = "(no answer)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Coverage, majority vote and best by each judge, of one model with k samples a problem."""

    k: int
    tokens: float
    coverage: Interval
    majority: Interval | None
    best: Mapping[str, Interval]
    """Judge -> how often what it scores highest of k is right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """One model's curve over k."""

    stage: str
    model: str
    source: str
    budgets: tuple[Budget, ...]
    vote_gain: Interval | None
    """Majority vote at the largest k minus one sample, paired by problem."""
    judges: tuple[str, ...]


def read_scaling(run: RunFiles) -> list[Scaling]:
    """Every inference-scaling curve of a run, from its raw rows."""
    found = []
    for stage, artifact in run.artifacts("curves"):
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in run.rows(artifact.path):
            n, c = finite(row.get("n")), finite(row.get("correct"))
            if "problem" in row and n and c is not None and c <= n:
                groups[str(row.get("model", "model"))].append(row)
        found += [_scaling(stage.name, m, artifact.path, rows) for m, rows in groups.items()]
    return found


def _scaling(stage: str, model: str, source: str, rows: Sequence[Row]) -> Scaling:
    most = min(int(r["n"]) for r in rows)
    pools = [p for r in rows if (p := _answers(r)) is not None]
    votable = len(pools) == len(rows)
    judges = tuple(dict.fromkeys(name for r in rows for name in _judged(r)))
    judges = tuple(j for j in judges if all(j in _judged(r) for r in rows))
    per_sample = [(finite(r.get("tokens")) or math.nan) / int(r["n"]) for r in rows]
    budgets, votes = [], []
    for k in (2**i for i in range(most.bit_length())):
        votes.append([majority_at_k(*pool, k) for pool in pools] if votable else [])
        covered = [pass_at_k(int(r["n"]), int(r["correct"]), k) for r in rows]
        budgets.append(
            Budget(
                k=k,
                tokens=k * sum(per_sample) / len(per_sample),
                coverage=mean_interval(covered).within(0, 1),
                majority=mean_interval(votes[-1]).within(0, 1) if votable else None,
                best={judge: _best(rows, judge, k) for judge in judges},
            )
        )
    return Scaling(
        stage=stage,
        model=model,
        source=source,
        budgets=tuple(budgets),
        vote_gain=paired_interval(votes[-1], votes[0]) if votable else None,
        judges=judges,
    )


def _judged(row: Row) -> dict[str, list[float]]:
    """Judge -> its score of each sample, where they are as many as there are verdicts."""
    judged, right = row.get("judged"), row.get("right")
    if not isinstance(judged, Mapping) or not isinstance(right, list):
        return {}
    return {
        str(name): scores
        for name, scores in judged.items()
        if isinstance(scores, list)
        and len(scores) == len(right) == row["n"]
        and all(finite(value) is not None for value in [*scores, *right])
    }


def _best(rows: Sequence[Row], judge: str, k: int) -> Interval:
    right = [expected_best_of_n(_judged(r)[judge], r["right"], k) for r in rows]
    return mean_interval(right).within(0, 1)


def _answers(row: Row) -> tuple[dict[str, int], str] | None:
    """Answer -> count, with samples that gave none as one wrong answer; and the right answer."""
    answers = row.get("answers")
    if not isinstance(answers, Mapping) or row.get("gold_answer") is None:
        return None
    if not all(isinstance(c, int) and c >= 0 for c in answers.values()):
        return None
    counts = {str(a): int(c) for a, c in answers.items()}
    missing = int(row["n"]) - sum(counts.values())
    if missing > 0:
        counts[NO_ANSWER] = counts.get(NO_ANSWER, 0) + missing
    return counts, str(row["gold_answer"])


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
        "best@k by a reward model is how often the one of k that it scores highest is right.",
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
        ]

    head = ["k", "tokens", "pass@k", "majority@k", *(f"best@k by {j}" for j in scaling.judges)]
    return tag("h3", scaling.model) + table(head, (row(b) for b in scaling.budgets))
