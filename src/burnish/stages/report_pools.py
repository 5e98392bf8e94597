"""What pools of samples say: coverage, votes and the best of k, over k, of each model."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.evals.scaling_laws import coverage, log_linear
from burnish.evals.stats import (
    Interval,
    expected_best_of_n,
    majority_at_k,
    mean_interval,
    paired_interval,
    pass_at_k,
)
from burnish.evals.votes import weighted_vote_at_k
from burnish.stages.report_files import Row, RunFiles
from burnish.stages.report_fits import Fitted
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
    weighted: Mapping[str, Interval]
    """Judge -> how often a vote is right in which each sample counts by its score."""


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
    covered: tuple[tuple[float, ...], ...]
    """Of each problem, its own pass@k at every k."""
    fits: tuple[Fitted, ...]


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
    weighing = [j for j in judges if all(_weighs(r, j) for r in rows)]
    at = f"scaling/{stage}/{model}"
    ks = [2**i for i in range(most.bit_length())]
    curves = {"pass@k": [_covered(rows, k) for k in ks]}
    curves |= {"majority@k": [_voted(pools, k) for k in ks]} if votable else {}
    curves |= {f"best@k by {j}": [_best(rows, j, k) for k in ks] for j in judges}
    curves |= {f"weighted@k by {j}": [_weighted(rows, j, k) for k in ks] for j in weighing}
    intervals = {name: [mean_interval(v).within(0, 1) for v in c] for name, c in curves.items()}
    tokens = [k * sum(per_sample) / len(per_sample) for k in ks]
    budgets = tuple(
        Budget(
            k=k,
            tokens=tokens[i],
            coverage=intervals["pass@k"][i],
            majority=intervals["majority@k"][i] if votable else None,
            best={j: intervals[f"best@k by {j}"][i] for j in judges},
            weighted={j: intervals[f"weighted@k by {j}"][i] for j in weighing},
        )
        for i, k in enumerate(ks)
    )
    votes = curves.get("majority@k")
    return Scaling(
        stage=stage,
        model=model,
        source=source,
        budgets=budgets,
        vote_gain=paired_interval(votes[-1], votes[0]) if votes else None,
        judges=judges,
        covered=tuple(zip(*curves["pass@k"], strict=True)),
        fits=tuple(_fits(curves, ks, tokens, at, source)),
    )


def _fits(
    curves: Mapping[str, Sequence[Sequence[float]]],
    ks: Sequence[int],
    tokens: Sequence[float],
    at: str,
    source: str,
) -> list[Fitted]:
    """Of coverage its own law; of what ends in one answer the log-linear one."""
    if len(ks) < 3:
        return []
    found = []
    for name, curve in curves.items():
        rows = list(np.array(curve).T)
        if name == "pass@k":
            law = "c = exp(a k^b)"
            found.append(Fitted.of(name, law, f"{at}/fit/{name}", source, rows, coverage(ks)))
        elif not math.isnan(tokens[0]):
            law = "accuracy = a + b log2(tokens)"
            key = f"{at}/fit/{name}"
            found.append(Fitted.of(name, law, key, source, rows, log_linear(tokens)))
    return found


def _covered(rows: Sequence[Row], k: int) -> list[float]:
    return [pass_at_k(int(r["n"]), int(r["correct"]), k) for r in rows]


def _voted(pools: Sequence[tuple[dict[str, int], str]], k: int) -> list[float]:
    return [majority_at_k(*pool, k) for pool in pools]


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


def _best(rows: Sequence[Row], judge: str, k: int) -> list[float]:
    return [expected_best_of_n(_judged(r)[judge], r["right"], k) for r in rows]


def _weighs(row: Row, judge: str) -> bool:
    """Whether a judge's scores are probabilities, and each sample's own answer was kept."""
    said = row.get("said")
    kept = isinstance(said, list) and len(said) == row["n"] and row.get("gold_answer") is not None
    return kept and all(0 <= score <= 1 for score in _judged(row)[judge])


def _weighted(rows: Sequence[Row], judge: str, k: int) -> list[float]:
    return [
        weighted_vote_at_k(
            [str(a) or NO_ANSWER for a in r["said"]],
            _judged(r)[judge],
            str(r["gold_answer"]),
            k,
            seed=number,
        )
        for number, r in enumerate(rows)
    ]


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
