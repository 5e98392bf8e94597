"""Every number that a report states, in one place: its value, where it comes from, and how.

A number gets onto the page only through `Numbers`, which writes it with its id and exact value;
so a reader can hover it, and `check_report` can compute it again and compare.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from markupsafe import Markup

from burnish.errors import RunError
from burnish.evals.stats import Interval

Value: TypeAlias = float | int | str | None


class Shown(Protocol):
    """How a value is written for people."""

    def text(self, value: Value) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How a number is shown; the exact one stays beside it."""

    scale: float = 1.0
    decimals: int = 3
    signed: bool = False
    suffix: str = ""

    def text(self, value: Value) -> str:
        if not isinstance(value, int | float):
            return "–" if value is None else value
        if not math.isfinite(value):
            return "–"
        shown = f"{value * self.scale:{'+' if self.signed else ''},.{self.decimals}f}"
        if not any(c in "123456789" for c in shown):
            shown = shown.replace("-", "").replace("+", "±")  # a rounded zero has no sign
        return shown.replace("-", "−") + self.suffix

    @property
    def bare(self) -> "Format":
        """Without its suffix, for the bounds of an interval."""
        return replace(self, suffix="")


@dataclass(frozen=True, slots=True)
class Significant:
    """Four significant digits, for quantities of unknown size."""

    def text(self, value: Value) -> str:
        if not isinstance(value, int | float):
            return "–" if value is None else value
        return f"{value:.4g}".replace("-", "−") if math.isfinite(value) else "–"


@dataclass(frozen=True, slots=True)
class Large:
    """Counts: whole below ten thousand, then three digits and k, M, G or T."""

    def text(self, value: Value) -> str:
        if not isinstance(value, int | float):
            return "–" if value is None else value
        if not math.isfinite(value):
            return "–"
        if abs(value) < 10_000:
            return f"{value:,.0f}".replace("-", "−")
        size, units = abs(value) / 1000, ["k", "M", "G", "T"]
        while size >= 999.5 and len(units) > 1:
            size, units = size / 1000, units[1:]
        return f"{'−' if value < 0 else ''}{size:.3g} {units[0]}"


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds as people say them."""

    def text(self, value: Value) -> str:
        if not isinstance(value, int | float):
            return "–" if value is None else value
        if not math.isfinite(value):
            return "–"
        if value < 60:
            return f"{value:.1f} s"
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


SCORE = Format()
GAIN = Format(signed=True)
PERCENT = Format(scale=100, decimals=1, suffix=" %")
POINTS = Format(scale=100, decimals=1, signed=True, suffix=" pts")
COUNT = Format(decimals=0)
NATS = Format(decimals=2)
SIGNIFICANT = Significant()
LARGE = Large()
SECONDS = Duration()


def score_format(largest: float, *, signed: bool = False) -> Format:
    """Three decimals where scores are about one, one where they are returns in the hundreds."""
    return Format(decimals=3 if largest < 10 else 1, signed=signed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """`source` is the file it was computed from, `how` says in words what was done."""

    value: Value
    text: str
    source: str
    how: str


@dataclass(slots=True)
class Numbers:
    """The registry of one report."""

    entries: dict[str, Number] = field(default_factory=dict)

    def show(self, key: str, value: Value, form: Shown, source: str, how: str) -> Markup:
        """Register a number and give its HTML.

        Raises:
            RunError: the id was given another value before.
        """
        attributes = self.attributes(key, value, form, source, how)
        return Markup('<span class="n"{}>{}</span>').format(attributes, form.text(value))

    def attributes(self, key: str, value: Value, form: Shown, source: str, how: str) -> Markup:
        """Register a number, and give the attributes of the element that shows its text."""
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        number = Number(value=value, text=form.text(value), source=source, how=how)
        before = self.entries.setdefault(key, number)
        if before.value != value:
            raise RunError(f"report: {key} has two values, {before.value} and {value}")
        return Markup(' data-id="{}" data-value="{}"').format(key, exact(value))

    def interval(self, key: str, interval: Interval, form: Format, source: str, how: str) -> Markup:
        """An estimate with its bounds: three numbers, `key`, `key/low` and `key/high`."""
        percent = f"{100 * interval.level:.0f} %"
        middle = self.show(key, interval.estimate, form, source, f"{how}; n = {interval.n}")
        if not math.isfinite(interval.low):
            return Markup('{} <span class="ci">[no interval: n = {}]</span>').format(
                middle, self.show(f"{key}/n", interval.n, COUNT, source, "values")
            )
        low, high = (
            self.show(
                f"{key}/{side}",
                value,
                form.bare,
                source,
                f"{side} end of the {percent} interval ({interval.method}) of: {how}",
            )
            for side, value in (("low", interval.low), ("high", interval.high))
        )
        return Markup('{} <span class="ci">[{},&nbsp;{}]</span>').format(middle, low, high)

    def to_json(self) -> Mapping[str, Mapping[str, Value]]:
        """What report.json holds."""
        return {
            key: {"value": n.value, "source": n.source, "how": n.how}
            for key, n in self.entries.items()
        }


def exact(value: Value) -> str:
    """The text of a value that loses nothing; "" for no value."""
    return "" if value is None else repr(value) if isinstance(value, int | float) else value
