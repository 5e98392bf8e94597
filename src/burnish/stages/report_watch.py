"""Training on a learnt reward, as it was watched: proxy and held-out gold at each look."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from burnish.evals.alarm import Alarm, Look, first_alarm
from burnish.evals.stats import Interval, mean_interval, paired_interval
from burnish.stages.report_figures import axis, band, line
from burnish.stages.report_files import Row, RunFiles, StageFiles
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
from burnish.stages.report_numbers import COUNT, GAIN, PERCENT, SCORE, Numbers
from burnish.stages.report_scores import finite
from burnish.stages.rl_watch import FILE, planned_looks


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One run's looks, and the alarm that they raise."""

    stage: str
    source: str
    looks: tuple[Look, ...]
    rate: float
    alarm: Alarm | None


def read_watched(run: RunFiles) -> list[Watched]:
    """Every watched training run."""
    return [found for stage in run.stages if (found := _watched(run, stage)) is not None]


def _watched(run: RunFiles, stage: StageFiles) -> Watched | None:
    settings = stage.config.get("watch")
    if not isinstance(settings, dict) or not stage.folder:
        return None
    source = stage.path(FILE)
    looks = tuple(_looks(run, source))
    steps, every = finite(stage.config.get("steps")), finite(settings.get("every"))
    rate = finite(settings.get("rate"))
    if not looks or not steps or not every or rate is None:
        return None
    planned = max(planned_looks(int(every), int(steps)), len(looks))
    raised = first_alarm(looks, planned=planned, rate=rate)
    return Watched(stage=stage.name, source=source, looks=looks, rate=rate, alarm=raised)


def _looks(run: RunFiles, source: str) -> Iterator[Look]:
    """Those whose scores are of as many problems as the first one's."""
    size = None
    for row in run.rows(source):
        step, proxy, gold = finite(row.get("step")), _scores(row, "proxy"), _scores(row, "gold")
        size = len(gold) if size is None else size
        if step is not None and size and len(proxy) == len(gold) == size:
            yield Look(step=int(step), proxy=proxy, gold=gold)
        else:
            run.problems.append(f"{source}: a look is damaged and left out")


def _scores(row: Row, name: str) -> tuple[float, ...]:
    listed = row.get(name)
    values = [finite(value) for value in listed] if isinstance(listed, list) else []
    return tuple(v for v in values if v is not None)


def watch_section(run: RunFiles, numbers: Numbers) -> Section | None:
    """Curves of every watched run, and whether its alarm was raised."""
    found = read_watched(run)
    if not found:
        return None
    intro = tag(
        "p",
        "While these runs were trained on a learnt reward, the policy answered the same held-out "
        "problems every few steps, with the same random numbers. The alarm is raised when gold has "
        "fallen since any earlier look while the proxy rose: one-sided paired intervals, the rate "
        "of false alarms shared among all pairs of looks (burnish/evals/alarm.py). No alarm is no "
        "proof that nothing fell. Bands are 95 % intervals over problems.",
    )
    shown = figures([_figure(w) for w in found], source_note(*(w.source for w in found)), "small")
    body = intro + shown + join(_table(w, numbers) for w in found)
    return Section(
        id="watch",
        title="Held-out gold while training",
        body=body,
        findings=tuple(_finding(w, numbers) for w in found),
    )


def _figure(watched: Watched) -> Figure:
    x = [float(look.step) for look in watched.looks]
    first = watched.looks[0]
    traces = []
    for name, changes, colour, dash in (
        ("proxy", [paired_interval(x.proxy, first.proxy) for x in watched.looks], "@1", "dot"),
        ("gold", [paired_interval(x.gold, first.gold) for x in watched.looks], "@0", "solid"),
    ):
        hover = f"step %{{x}}: {name} %{{y:+.3f}}"
        estimates = [c.estimate for c in changes]
        traces += [
            band(x, changes, colour),
            line(x, estimates, name=name, colour=colour, hover=hover, dash=dash),
        ]
    return Figure(
        id=anchor("fig", "watch", watched.stage),
        title=watched.stage,
        traces=traces,
        layout={"xaxis": axis("step"), "yaxis": axis("change from the first look")},
        height=300,
    )


def _table(watched: Watched, numbers: Numbers) -> Markup:
    def row(look: Look) -> list[object]:
        at, source = f"watch/{watched.stage}/{look.step}", watched.source
        gold = mean_interval(look.gold, binary=False)
        proxy = mean_interval(look.proxy, binary=False)
        change = paired_interval(look.gold, watched.looks[0].gold)
        return [
            numbers.show(at, look.step, COUNT, source, "updates before the look"),
            numbers.interval(f"{at}/proxy", proxy, SCORE, source, "mean proxy over problems"),
            numbers.interval(f"{at}/gold", gold, SCORE, source, "mean gold over problems"),
            "–"
            if look is watched.looks[0]
            else numbers.interval(f"{at}/change", change, GAIN, source, "gold less the first's"),
        ]

    head = ["step", "proxy", "gold", "gold, change from the first look"]
    return tag("h3", watched.stage) + table(head, (row(look) for look in watched.looks))


def _finding(watched: Watched, numbers: Numbers) -> Finding:
    first, last = watched.looks[0], watched.looks[-1]
    at, source = f"watch/{watched.stage}", watched.source
    rate = numbers.show(f"{at}/rate", watched.rate, PERCENT, source, "rate of false alarms")
    if watched.alarm is None:
        text = Markup(
            "<b>{}</b>: no alarm (one is false in at most {} of runs); from the first look to the "
            "last, proxy changed by {} and held-out gold by {}."
        ).format(
            watched.stage,
            rate,
            _show(f"{at}/last/proxy", paired_interval(last.proxy, first.proxy), source, numbers),
            _show(f"{at}/last/gold", paired_interval(last.gold, first.gold), source, numbers),
        )
        return Finding(text=text)
    raised = watched.alarm
    text = Markup(
        "<b>{}</b>: <em>over-optimisation alarm</em> at step {} (false in at most {} of runs): "
        "since step {} held-out gold changed by {} while the proxy rose by {}."
    ).format(
        watched.stage,
        numbers.show(f"{at}/alarm", raised.step, COUNT, source, "step of the alarm"),
        rate,
        numbers.show(f"{at}/alarm/since", raised.since, COUNT, source, "the earlier look"),
        _show(f"{at}/alarm/gold", raised.gold, source, numbers),
        _show(f"{at}/alarm/proxy", raised.proxy, source, numbers),
    )
    return Finding(text=text, css="down")


def _show(key: str, change: Interval, source: str, numbers: Numbers) -> Markup:
    how = "mean of the difference on the same problems"
    return numbers.interval(key, change, GAIN, source, how)
