"""Fitted laws in the report: one table for every section that fits some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from burnish.errors import ConfigError, DataError
from burnish.evals.scaling_laws import Curve, Law, fitted
from burnish.evals.stats import Interval
from burnish.stages.report_markup import EMPTY, join, table, tag
from burnish.stages.report_numbers import SCORE, Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """One law fitted to one curve; `refused` says why there is none."""

    curve: str
    law: str
    """As an equation."""
    key: str
    source: str
    parameters: Mapping[str, Interval]
    refused: str = ""

    @classmethod
    def of(
        cls, curve: str, equation: str, key: str, source: str, rows: Sequence[Curve], law: Law
    ) -> "Fitted":
        """`rows` are the problems' curves."""
        found: Mapping[str, Interval] = {}
        refused = ""
        try:
            found = fitted(np.array(rows), law)
        except (ConfigError, DataError) as error:
            refused = str(error)
        return cls(
            curve=curve, law=equation, key=key, source=source, parameters=found, refused=refused
        )


def parameter_html(fit: Fitted, name: str, interval: Interval, numbers: Numbers) -> Markup:
    """One parameter of a fitted law."""
    how = f"{name} of {fit.law}, fitted to {fit.curve}"
    return numbers.interval(f"{fit.key}/{name}", interval, SCORE, fit.source, how)


def fits_table(fits: Sequence[Fitted], numbers: Numbers) -> Markup:
    """Each curve's law with its parameters."""
    if not fits:
        return EMPTY

    def row(fit: Fitted) -> list[object]:
        if fit.refused:
            return [fit.curve, fit.law, tag("span", f"no fit: {fit.refused}", "quiet")]
        parts = (
            Markup("<em>{}</em> = {}").format(name, parameter_html(fit, name, i, numbers))
            for name, i in fit.parameters.items()
        )
        return [fit.curve, fit.law, Markup("; ").join(parts)]

    note = tag(
        "p",
        "Least squares; brackets hold 95 % bootstrap intervals over problems, under which the "
        "points of a curve move together.",
        "source",
    )
    return tag("h4", "Fits") + join([table(["curve", "law", "parameters"], map(row, fits))]) + note
