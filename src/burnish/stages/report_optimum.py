"""Learned policies of the thermostat beside the best possible one."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_files import RunFiles
from burnish.stages.report_markup import Finding, Section, join, source_note, table, tag
from burnish.stages.report_numbers import Numbers, score_format
from burnish.stages.report_scores import Scores, Suite, finite, paired

OPTIMUM = "optimum"
"""What the best possible policy is called among the scores."""
EXPECTED = "value iteration: expected return of these days"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaps:
    """How far each policy stays below the optimum on the same days."""

    suite: Suite
    source: str
    expected: float | None
    """What value iteration says these days are worth."""
    gaps: dict[str, Interval]
    """Optimum minus policy, paired by day."""
    seeds: Interval | None
    """Of the learned policies' mean gaps, over independent trainings."""


def read_gaps(run: RunFiles, scores: Scores | None) -> list[Gaps]:
    """Every suite that an optimum played in."""
    found = []
    for suite in scores.suites if scores is not None else ():
        if OPTIMUM not in suite.cells:
            continue
        best = suite.cells[OPTIMUM]
        others = {m: paired(best.values, c.values) for m, c in suite.cells.items() if m != OPTIMUM}
        learned = [gap.estimate for model, gap in others.items() if model.startswith("seed-")]
        stage = run.stage(suite.stage)
        values = stage.tallies.get("values", {}) if stage else {}
        found.append(
            Gaps(
                suite=suite,
                source=best.source,
                expected=finite(values.get(EXPECTED)),
                gaps=others,
                seeds=mean_interval(learned, binary=False) if learned else None,
            )
        )
    return found


def optimum_section(found: Sequence[Gaps], numbers: Numbers) -> Section | None:
    """Returns and gaps to the optimum."""
    if not found:
        return None
    intro = tag(
        "p",
        "The optimum is found by value iteration and is told the time of day, which the other "
        "policies are not: it bounds them from above. Gaps are paired by day.",
    )
    body = intro + join(_table(gaps, numbers) for gaps in found)
    findings = tuple(
        Finding(
            text=Markup("Learned policies stay {} below the optimum of a day.").format(
                _seeds_html(gaps, gaps.seeds, numbers)
            )
        )
        for gaps in found
        if gaps.seeds is not None
    )
    return Section(id="optimum", title="The best possible", body=body, findings=findings)


def _seeds_html(found: Gaps, seeds: Interval, numbers: Numbers) -> Markup:
    key, how = f"optimum/{found.suite.stage}/seeds", "mean over trainings of their mean gaps"
    form = score_format(found.suite.cells[OPTIMUM].largest, signed=True)
    return numbers.interval(key, seeds, form, found.source, how)


def _table(found: Gaps, numbers: Numbers) -> Markup:
    at, source = f"optimum/{found.suite.stage}", found.source
    best = found.suite.cells[OPTIMUM]
    form, signed = score_format(best.largest), score_format(best.largest, signed=True)

    def row(model: str) -> list[object]:
        cell, gap = found.suite.cells[model], found.gaps.get(model)
        shown: object = "–"
        if gap is not None:
            shown = numbers.interval(f"{at}/{model}/gap", gap, signed, source, "optimum minus it")
        value = numbers.interval(f"{at}/{model}", cell.mean, form, source, "mean return of a day")
        return [model, value, shown]

    facts = []
    if found.expected is not None:
        said = numbers.show(f"{at}/expected", found.expected, form, source, "value iteration")
        facts.append(Markup("value iteration expects {} of these days").format(said))
    if found.seeds is not None:
        gap = _seeds_html(found, found.seeds, numbers)
        facts.append(Markup("over independent trainings, the gap is {}").format(gap))
    head = ["policy", "return of a day", "gap to the optimum"]
    note = source_note(source)
    lines = tag("p", Markup("; ").join(facts), "facts")
    return lines + table(head, map(row, found.suite.cells), note=note)
