"""Token shift in the report: what share of a tuned model's tokens its start would have chosen."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from burnish.evals.shift import KINDS, kind_of
from burnish.evals.stats import Interval, mean_interval
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
from burnish.stages.report_numbers import COUNT, PERCENT, Numbers

EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Positions are counted from 0 and taken together between these."""
LISTED = 12
FEWEST = 10
"""Answers that must reach a stretch of positions for it to be drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Some positions: the share of each kind there, over answers that reach them."""

    first: int
    last: int
    shares: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """One tuned model beside its start."""

    stage: str
    model: str
    source: str
    answers: int
    tokens: int
    overall: Mapping[str, Interval]
    """Over answers, each with the share of its own tokens."""
    stretches: tuple[Stretch, ...]
    most: tuple[tuple[str, int, int], ...]
    """(token, how often shifted, how often in all), the most often shifted first."""


def read_shifts(run: RunFiles) -> list[Shift]:
    """Every token-shift measurement of a run, from its raw rows."""
    found = []
    for stage, artifact in run.artifacts("curves"):
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in run.rows(artifact.path):
            ranks, tokens = row.get("ranks"), row.get("tokens")
            if isinstance(ranks, list) and isinstance(tokens, list) and len(ranks) == len(tokens):
                groups[str(row.get("model"))].append(row)
        found += [_shift(stage.name, m, artifact.path, rows) for m, rows in groups.items()]
    return found


def _shift(stage: str, model: str, source: str, rows: Sequence[Row]) -> Shift:
    kinds = [[kind_of(int(rank)) for rank in row["ranks"]] for row in rows]
    shifted: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row, own in zip(rows, kinds, strict=True):
        for token, kind in zip(row["tokens"], own, strict=True):
            total[str(token)] += 1
            shifted[str(token)] += kind == "shifted"
    stretches = []
    for first, end in pairwise(EDGES):
        parts = [part for own in kinds if (part := own[first:end])]
        if len(parts) >= FEWEST:
            stretches.append(Stretch(first=first, last=end - 1, shares=_shares(parts)))
    ranked = sorted(total, key=lambda t: (-shifted[t], t))[:LISTED]
    return Shift(
        stage=stage,
        model=model,
        source=source,
        answers=len(rows),
        tokens=sum(map(len, kinds)),
        overall=_shares([own for own in kinds if own]),
        stretches=tuple(stretches),
        most=tuple((t, shifted[t], total[t]) for t in ranked if shifted[t]),
    )


def _shares(parts: Sequence[Sequence[str]]) -> dict[str, Interval]:
    return {
        kind: mean_interval([p.count(kind) / len(p) for p in parts], binary=False).within(0, 1)
        for kind in KINDS
    }


def shift_section(found: Sequence[Shift], numbers: Numbers) -> Section | None:
    """Shares of unshifted, marginal and shifted tokens, over positions."""
    if not found:
        return None
    intro = tag(
        "p",
        "The tuned model answers greedily, and its start ranks each token with the answer so far "
        "as context (URIAL, 2312.01552): rank 1 is unshifted, 2 or 3 marginal, beyond that "
        "shifted. Shares are means over answers with their 95 % intervals; a stretch of positions "
        f"is shown where at least {FEWEST} answers reach it.",
    )
    shown = figures([_figure(s) for s in found], source_note(*(s.source for s in found)), "small")
    tables = join(_tables(shift, numbers) for shift in found)
    findings = tuple(
        Finding(
            text=Markup("Of the tokens of <b>{}</b>, {} are shifted and {} marginal.").format(
                shift.model,
                _share_html(shift, "shifted", numbers),
                _share_html(shift, "marginal", numbers),
            )
        )
        for shift in found
    )
    return Section(id="shift", title="Token shift", body=intro + shown + tables, findings=findings)


def _share_html(shift: Shift, kind: str, numbers: Numbers) -> Markup:
    key = f"shift/{shift.stage}/{shift.model}/{kind}"
    how = f"mean over answers of the share of tokens that are {kind}"
    return numbers.interval(key, shift.overall[kind], PERCENT, shift.source, how)


def _figure(shift: Shift) -> Figure:
    x = [(s.first + s.last) / 2 + 1 for s in shift.stretches]
    traces = []
    for number, kind in enumerate(KINDS):
        percent = [s.shares[kind].times(100) for s in shift.stretches]
        y = [i.estimate for i in percent]
        colour, hover = f"@{number}", f"token %{{x}}: {kind} %{{y:.1f}} %"
        traces.append(band(x, percent, colour))
        traces.append(line(x, y, name=kind, colour=colour, hover=hover))
    layout = {
        "xaxis": axis("position in the answer (tokens)", type="log"),
        "yaxis": axis("share of tokens (%)", rangemode="tozero"),
    }
    ident = anchor("fig", "shift", shift.stage, shift.model)
    return Figure(id=ident, title=shift.model, traces=traces, layout=layout, height=320)


def _tables(shift: Shift, numbers: Numbers) -> Markup:
    at, source = f"shift/{shift.stage}/{shift.model}", shift.source

    def shares(key: str, found: Mapping[str, Interval]) -> list[object]:
        how = "mean over answers of the share of tokens that are"
        return [
            numbers.interval(f"{key}/{k}", found[k], PERCENT, source, f"{how} {k}") for k in KINDS
        ]

    rows: list[list[object]] = [["all", *shares(at, shift.overall)]]
    for part in shift.stretches:
        alone = part.first == part.last
        name = f"{part.first + 1}" if alone else f"{part.first + 1} to {part.last + 1}"
        rows.append([name, *shares(f"{at}/{part.first}", part.shares)])
    listed = [
        [
            tag("code", repr(token)),
            numbers.show(f"{at}/most/{i}", often, COUNT, source, f"times {token!r} is shifted"),
            numbers.show(f"{at}/most/{i}/of", of, COUNT, source, f"times {token!r} is written"),
        ]
        for i, (token, often, of) in enumerate(shift.most)
    ]
    answers = numbers.show(f"{at}/answers", shift.answers, COUNT, source, "answers")
    tokens = numbers.show(f"{at}/tokens", shift.tokens, COUNT, source, "tokens of all answers")
    facts = Markup('<p class="facts">{} answers, {} tokens</p>').format(answers, tokens)
    most = table(["most shifted", "times shifted", "of"], listed) if listed else Markup("")
    return tag("h3", shift.model) + facts + table(["position", *KINDS], rows) + most
