"""Curves of an over-optimisation study, summarised from its raw rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev
from typing import TypeAlias

from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_files import Row, RunFiles
from burnish.stages.report_scores import by_problem, finite, paired

Key: TypeAlias = tuple[str, str]
"""A series, and the proxy that it pursues."""
BEST_OF_N = "best_of_n"
LABELS = {BEST_OF_N: "best of n", "ppo": "PPO"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One n, or one step, of a curve; changes are from the start, paired by prompt."""

    x: float
    kl: float
    proxy: Interval
    gold: Interval
    proxy_change: Interval
    gold_change: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One way of optimising against the proxy. Spreads are those of the start's scores."""

    stage: str
    name: str
    """Unique in its stage: the pursuit's, or best_of_n, with its proxy where there are several."""
    label: str
    is_best_of_n: bool
    source: str
    rows: Mapping[float, Sequence[Row]]
    """Raw rows of each point."""
    start: Sequence[Row]
    """Those of the start, under the same proxy."""
    points: tuple[Point, ...]
    proxy_spread: float
    gold_spread: float
    fall: Interval
    """Gold at the last point minus gold at its peak, paired by prompt."""

    @property
    def peak(self) -> Point:
        """The point with the highest gold score."""
        return max(self.points, key=lambda p: p.gold.estimate)


def read_overoptimisation(run: RunFiles) -> list[Series]:
    """Every over-optimisation curve of a run, from its raw rows."""
    found = []
    for stage, artifact in run.artifacts("curves"):
        groups: dict[Key, dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in run.rows(artifact.path):
            x, kl = finite(row.get("x")), finite(row.get("kl"))
            if "series" in row and x is not None and kl is not None:
                groups[str(row["series"]), str(row.get("judge", ""))][x].append(row)
        several = len({judge for _, judge in groups}) > 1
        for (name, judge), group in groups.items():
            start = groups.get((BEST_OF_N, judge), {}).get(1.0)
            names = (name, judge) if several else (name, "")
            found.append(_series(stage.name, names, artifact.path, group, start))
    return found


def _series(
    stage: str,
    names: Key,
    source: str,
    groups: Mapping[float, Sequence[Row]],
    start: Sequence[Row] | None,
) -> Series:
    xs = sorted(groups)
    first = start or groups[xs[0]]
    proxy = {x: by_problem(groups[x], "proxy", "prompt") for x in xs}
    gold = {x: by_problem(groups[x], "gold", "prompt") for x in xs}
    proxy_start = by_problem(first, "proxy", "prompt")
    gold_start = by_problem(first, "gold", "prompt")
    points = tuple(
        Point(
            x=x,
            kl=sum(float(r["kl"]) for r in groups[x]) / len(groups[x]),
            proxy=mean_interval(list(proxy[x].values()), binary=False),
            gold=mean_interval(list(gold[x].values()), binary=False),
            proxy_change=paired(proxy[x], proxy_start),
            gold_change=paired(gold[x], gold_start),
        )
        for x in xs
    )
    peak = max(points, key=lambda p: p.gold.estimate)
    name, judge = names
    label = LABELS.get(name, name.replace("_", " "))
    return Series(
        stage=stage,
        name=f"{name}.{judge}" if judge else name,
        label=f"{label}, proxy {judge}" if judge else label,
        is_best_of_n=name == BEST_OF_N,
        source=source,
        rows=groups,
        start=first,
        points=points,
        proxy_spread=pstdev(proxy_start.values()) if proxy_start else 0.0,
        gold_spread=pstdev(gold_start.values()) if gold_start else 0.0,
        fall=paired(gold[xs[-1]], gold[peak.x]),
    )
