"""How well a judge agrees with labels, and what it goes by besides.

Prompts are the unit of sampling: pairs of one prompt are averaged, or their scores summed, before
any interval is computed.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from burnish.errors import DataError
from burnish.evals.stats import Interval, mean_interval
from burnish.types import Winner, mean

PRIOR_STD = 10.0
"""Of the slopes' normal prior: wide, but enough to keep one finite where pairs are separable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPair:
    """A labelled pair, and what a judge said of it in either order."""

    prompt: str
    """An id: pairs of one prompt are a cluster."""
    label: Winner
    a_first: Winner | None
    b_first: Winner | None
    chars_a: int
    chars_b: int

    @property
    def winner(self) -> Winner | None:
        """The verdict: a tie where the orders disagree."""
        if self.a_first is None or self.b_first is None:
            return None
        return self.a_first if self.a_first == self.b_first else "tie"

    @property
    def log_length_ratio(self) -> float:
        """log of a's length over b's, in characters; empty texts count as one."""
        return math.log(max(self.chars_a, 1) / max(self.chars_b, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeFigures:
    """What a calibration says of a judge."""

    num_pairs: int
    num_prompts: int
    agreement: Interval
    """Share of pairs with a winner in which the judge names it; its ties count one half."""
    kappa: float
    """Cohen's, over a, b and tie: agreement beyond what the marginals give by chance."""
    swap_consistency: Interval
    """Share of pairs whose verdict is the same in both orders."""
    first_shown: Interval
    """Log-odds that the completion shown first wins; 0 is no preference."""
    length_slope: Interval
    """Log-odds of preferring a over b, per unit of log(length a / length b)."""
    label_length_slope: Interval
    """The same of the labels."""
    added_length_slope: Interval
    """Judge minus labels, on the same prompts: what the judge adds."""
    unread: Interval
    """Share of pairs of which an answer could not be read; they are left out of all the rest."""


def judge_figures(pairs: Sequence[JudgedPair]) -> JudgeFigures:
    """All figures of one judge on labelled pairs.

    Raises:
        DataError: there are no pairs.
    """
    if not pairs:
        raise DataError("no labelled pairs: a judge cannot be calibrated on nothing")
    read = [p for p in pairs if p.winner is not None]
    decided = [p for p in read if p.label != "tie"]
    firsts = [(p.prompt, f) for p in read for f in _first_wins(p)]
    judge = _Slope.fit(read, [p.winner for p in read])
    labels = _Slope.fit(read, [p.label for p in read])
    return JudgeFigures(
        num_pairs=len(pairs),
        num_prompts=len({p.prompt for p in pairs}),
        agreement=_by_prompt([(p.prompt, _agrees(p)) for p in decided]),
        kappa=cohens_kappa([(p.label, p.winner or "tie") for p in read]),
        swap_consistency=_by_prompt([(p.prompt, float(p.a_first == p.b_first)) for p in read]),
        first_shown=_logit(_by_prompt(firsts)),
        length_slope=judge.interval(),
        label_length_slope=labels.interval(),
        added_length_slope=judge.minus(labels).interval(),
        unread=_by_prompt([(p.prompt, float(p.winner is None)) for p in pairs]),
    )


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """(observed - expected) / (1 - expected) agreement; NaN where chance alone agrees always."""
    if not pairs:
        return math.nan
    n = len(pairs)
    observed = mean([float(x == y) for x, y in pairs])
    names = {name for pair in pairs for name in pair}
    expected = sum(
        sum(x == name for x, _ in pairs) * sum(y == name for _, y in pairs) / n**2 for name in names
    )
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


@dataclass(frozen=True, slots=True)
class _Slope:
    """An estimate, and each prompt's influence on it."""

    estimate: float
    influence: Mapping[str, float]

    @classmethod
    def fit(cls, pairs: Sequence[JudgedPair], winners: Sequence[Winner | None]) -> "_Slope":
        """Logistic regression through the origin, a tie as half a win for each."""
        x = np.array([p.log_length_ratio for p in pairs])
        y = np.array([{"a": 1.0, "b": 0.0}.get(w or "tie", 0.5) for w in winners])
        slope = 0.0
        for _ in range(100):
            chance = 1 / (1 + np.exp(-np.clip(slope * x, -500, 500)))
            gradient = float(((y - chance) * x).sum()) - slope / PRIOR_STD**2
            curvature = float((chance * (1 - chance) * x * x).sum()) + 1 / PRIOR_STD**2
            step = max(min(gradient / curvature, 1.0), -1.0)
            slope += step
            if abs(step) < 1e-10:
                break
        chance = 1 / (1 + np.exp(-np.clip(slope * x, -500, 500)))
        curvature = float((chance * (1 - chance) * x * x).sum()) + 1 / PRIOR_STD**2
        influence: dict[str, float] = defaultdict(float)
        for pair, score in zip(pairs, (y - chance) * x / curvature, strict=True):
            influence[pair.prompt] += float(score)
        return cls(slope, influence)

    def minus(self, other: "_Slope") -> "_Slope":
        """The difference, paired by prompt."""
        prompts = self.influence.keys() | other.influence.keys()
        both = {p: self.influence.get(p, 0.0) - other.influence.get(p, 0.0) for p in prompts}
        return _Slope(self.estimate - other.estimate, both)

    def interval(self, level: float = 0.95) -> Interval:
        """Normal, with the sandwich variance over prompts; NaN ends for fewer than two."""
        n = len(self.influence)
        z = NormalDist().inv_cdf(0.5 + level / 2)
        spread = math.sqrt(sum(v * v for v in self.influence.values()) * n / max(n - 1, 1))
        half = z * spread if n > 1 else math.nan
        return Interval(
            estimate=self.estimate if n else math.nan,
            low=self.estimate - half,
            high=self.estimate + half,
            n=n,
            level=level,
            method="logistic, sandwich by prompt",
        )


def _agrees(pair: JudgedPair) -> float:
    return 0.5 if pair.winner == "tie" else float(pair.winner == pair.label)


def _first_wins(pair: JudgedPair) -> list[float]:
    """1 or 0 for each of the two answers that names a winner."""
    said = [(pair.a_first, "a"), (pair.b_first, "b")]
    return [float(winner == first) for winner, first in said if winner != "tie"]


def _by_prompt(values: Sequence[tuple[str, float]]) -> Interval:
    """The mean over prompts of each one's mean."""
    groups: dict[str, list[float]] = defaultdict(list)
    for prompt, value in values:
        groups[prompt].append(value)
    return mean_interval([mean(found) for found in groups.values()]).within(0, 1)


def _logit(share: Interval) -> Interval:
    """A share as log-odds; shares of 0 and 1 are infinite ones, and are cut to half of 1/n."""
    edge = 0.5 / max(share.n, 1)

    def log_odds(p: float) -> float:
        p = min(max(p, edge), 1 - edge)
        return math.log(p / (1 - p))

    low, middle, high = (log_odds(p) for p in (share.low, share.estimate, share.high))
    return Interval(
        estimate=middle,
        low=low,
        high=high,
        n=share.n,
        level=share.level,
        method=f"{share.method}, as log-odds",
    )
