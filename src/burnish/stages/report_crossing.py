"""Coverage before and after training, over the same problems: does the start catch up?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from burnish.evals.crossing import crossing
from burnish.evals.stats import Interval, paired_interval
from burnish.stages.report_files import RunFiles
from burnish.stages.report_markup import Finding, Section, join, source_note, table, tag
from burnish.stages.report_models import coloured, direction
from burnish.stages.report_numbers import COUNT, POINTS, Format, Numbers
from burnish.stages.report_pools import Scaling

FEWEST = 32
"""Tries that both must have had: with few of them nothing can be said of what is out of reach."""
TRIES = Format(decimals=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The first model of an inference-scaling stage, and one other."""

    stage: str
    before: str
    after: str
    source: str
    ks: tuple[int, ...]
    gains: tuple[Interval, ...]
    """Coverage after minus before at each k, paired by problem."""
    crossing: Interval
    both: int
    """Problems that both solved at least once."""
    only_before: int
    only_after: int
    neither: int


def read_pairs(run: RunFiles, scalings: Sequence[Scaling]) -> list[Pair]:
    """Every two models with many tries on the same problems."""
    found = []
    for stage in dict.fromkeys(s.stage for s in scalings):
        own = [s for s in scalings if s.stage == stage and s.budgets[-1].k >= FEWEST]
        solved = {s.model: _solved(run, s) for s in own}
        found += [
            _pair(own[0], other, solved[own[0].model], solved[other.model]) for other in own[1:]
        ]
    return [pair for pair in found if pair is not None]


def _solved(run: RunFiles, scaling: Scaling) -> dict[str, int]:
    """Problem -> right samples."""
    rows = [r for r in run.rows(scaling.source) if str(r.get("model", "model")) == scaling.model]
    return {str(r["problem"]): int(r["correct"]) for r in rows if "correct" in r}


def _pair(
    first: Scaling, other: Scaling, before: Mapping[str, int], after: Mapping[str, int]
) -> Pair | None:
    problems = [p for p in before if p in after]
    same = len(problems) == len(before) == len(after) == len(first.covered)
    ks = tuple(b.k for b in first.budgets)
    if not same or list(before) != list(after) or ks != tuple(b.k for b in other.budgets):
        return None
    old, new = np.array(first.covered), np.array(other.covered)
    right = [(before[p] > 0, after[p] > 0) for p in problems]
    return Pair(
        stage=first.stage,
        before=first.model,
        after=other.model,
        source=first.source,
        ks=ks,
        gains=tuple(
            paired_interval(new[:, i].tolist(), old[:, i].tolist()) for i in range(len(ks))
        ),
        crossing=crossing(ks, old, new),
        both=right.count((True, True)),
        only_before=right.count((True, False)),
        only_after=right.count((False, True)),
        neither=right.count((False, False)),
    )


def crossing_section(found: Sequence[Pair], numbers: Numbers) -> Section | None:
    """The paired difference of coverage at each k, and where it is gone."""
    if not found:
        return None
    intro = tag(
        "p",
        "Training that only aims better shows as a lead at one try that is gone at many: the start "
        "had it in reach (2504.13837). A lead that stays, and problems that only the trained "
        "model ever solves, would be a new ability. Differences are paired by problem; the "
        "crossing is the number of tries at which the start has caught up, resampled over "
        "problems. A problem that was never solved may still be within reach of more tries.",
    )
    tables = join(_table(pair, numbers) for pair in found)
    return Section(
        id="crossing",
        title="New ability or better aim",
        body=intro + tables,
        findings=tuple(_finding(pair, numbers) for pair in found),
    )


def _finding(pair: Pair, numbers: Numbers) -> Finding:
    """The lead at one try, at the most, and where it is gone."""
    first, last = pair.gains[0], pair.gains[-1]
    text = Markup("<b>{}</b> leads {} by {} at one try and by {} at {}; {}").format(
        pair.after,
        pair.before,
        _gain_html(pair, 0, numbers),
        _gain_html(pair, -1, numbers),
        numbers.show(
            f"crossing/{pair.stage}/{pair.after}/{pair.ks[-1]}",
            pair.ks[-1],
            COUNT,
            pair.source,
            "tries a problem",
        ),
        _said(pair, numbers),
    )
    if first.low > 0 and last.low <= 0:
        text += Markup(" <em>Better aim, no new ability shown.</em>")
    elif last.low > 0:
        text += Markup(" <em>The lead stays as far as was looked.</em>")
    return Finding(text=text, css=direction(first))


def _gain_html(pair: Pair, i: int, numbers: Numbers) -> Markup:
    k, gain = pair.ks[i], pair.gains[i]
    how = f"coverage at {k} of {pair.after} minus that of {pair.before}"
    key = f"crossing/{pair.stage}/{pair.after}/{k}/gain"
    shown = numbers.interval(key, gain, POINTS, pair.source, how)
    return coloured(gain, shown)


def _table(pair: Pair, numbers: Numbers) -> Markup:
    at, source = f"crossing/{pair.stage}/{pair.after}", pair.source

    def row(i: int) -> list[object]:
        k = pair.ks[i]
        shown = numbers.show(f"{at}/{k}", k, COUNT, source, "tries a problem")
        return [shown, _gain_html(pair, i, numbers)]

    counts = [
        ["solved by both", _count(f"{at}/both", pair.both, source, numbers)],
        [f"by {pair.before} only", _count(f"{at}/lost", pair.only_before, source, numbers)],
        [f"by {pair.after} only", _count(f"{at}/new", pair.only_after, source, numbers)],
        ["by neither", _count(f"{at}/neither", pair.neither, source, numbers)],
    ]
    title = f"{pair.after} beside {pair.before}"
    head = ["k", f"pass@k, {pair.after} minus {pair.before}"]
    rows = map(row, range(len(pair.ks)))
    return (
        tag("h3", title)
        + tag("p", _said(pair, numbers))
        + table(head, rows)
        + table([f"problems, in {pair.ks[-1]} tries each", "number"], counts)
        + source_note(source)
    )


def _count(key: str, value: int, source: str, numbers: Numbers) -> Markup:
    return numbers.show(key, value, COUNT, source, "problems, by whether a try was ever right")


def _said(pair: Pair, numbers: Numbers) -> Markup:
    found, most = pair.crossing, pair.ks[-1]
    at, source = f"crossing/{pair.stage}/{pair.after}/at", pair.source

    def tries(key: str, value: float) -> Markup:
        if math.isinf(value):
            return Markup("more than ") + numbers.show(key, most, TRIES, source, "the most tries")
        return numbers.show(key, value, TRIES, source, f"crossing; {found.method}")

    return Markup("{} has caught up at {} tries [{}, {}].").format(
        pair.before, tries(at, found.estimate), tries(f"{at}/low", found.low),
        tries(f"{at}/high", found.high),
    )  # fmt: skip
