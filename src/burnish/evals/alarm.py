"""An alarm for over-optimisation: the proxy has risen, and gold has fallen, since some look before.

At each look the same problems are scored. A look is compared with every one before it, by the
paired mean difference of gold (Student's t, Bonett-Price where all gold is 0 or 1). Of L looks that
makes L (L - 1) / 2 comparisons, each of which is made at `rate` divided by their number, one-sided
(Bonferroni): if gold never falls in expectation, the chance that a run ever raises the alarm is at
most `rate`, whatever the proxy does. That the proxy has risen is asked for besides, at the same
level: without it a fall of gold is a wrong learning rate, say, and not over-optimisation.
The price is power: falls that are small beside the spread over problems stay silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.config import require
from burnish.evals.stats import Interval, paired_interval

RATE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One measurement: scores of the same problems, in the same order each time."""

    step: int
    """Updates taken before it."""
    proxy: tuple[float, ...]
    gold: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """The fall that raised it; intervals are of differences, this look minus the earlier one."""

    since: int
    """Step of the earlier look."""
    step: int
    gold: Interval
    proxy: Interval


def alarm(looks: Sequence[Look], *, planned: int, rate: float = RATE) -> Alarm | None:
    """Whether the last look raises the alarm; of several falls, the one that is surest.

    planned: looks in the whole run, this one and those to come included.
    """
    require(0 < rate < 1, "rate must be in (0, 1)")
    require(len(looks) <= planned, f"{len(looks)} looks, and {planned} were planned")
    if len(looks) < 2:
        return None
    level = 1 - 2 * rate / (planned * (planned - 1) / 2)
    *before, last = looks
    found = []
    for look in before:
        gold = paired_interval(last.gold, look.gold, level=level)
        proxy = paired_interval(last.proxy, look.proxy, level=level)
        if gold.high < 0 < proxy.low:
            found.append(Alarm(since=look.step, step=last.step, gold=gold, proxy=proxy))
    return min(found, key=lambda a: a.gold.high, default=None)


def first_alarm(looks: Sequence[Look], *, planned: int, rate: float = RATE) -> Alarm | None:
    """The first that a run raised."""
    raised = (alarm(looks[: n + 1], planned=planned, rate=rate) for n in range(len(looks)))
    return next((a for a in raised if a is not None), None)
