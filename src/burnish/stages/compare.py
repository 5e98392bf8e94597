"""Two runs, or the same recipe twice: every model on every task, paired by problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from burnish.errors import RunError
from burnish.evals.stats import Interval, PairedTest, mean_interval, paired_interval, paired_test
from burnish.stages.report_files import Row, read_run
from burnish.stages.report_scores import by_problem, is_binary, score_rows

Place: TypeAlias = tuple[str, str, str]
"""Stage, model and task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One model on one task in both runs, over the problems that both scored."""

    stage: str
    """Run b's Evaluate stage; run a's may have another name."""
    task: str
    model: str
    metric: str
    """accuracy (share passed) or score."""
    a: Interval
    b: Interval
    difference: Interval
    """b minus a, paired by problem."""
    test: PairedTest
    only_a: int
    """Problems that only run a scored; left out."""
    only_b: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunComparison:
    """All that two runs share, and what each has alone."""

    rows: Sequence[Comparison]
    only_a: Sequence[Place]
    only_b: Sequence[Place]


def compare_runs(run_a: Path, run_b: Path) -> RunComparison:
    """Compare what two runs' evaluations say of models of the same name.

    Stages of the same name are compared; a model and task that each run evaluated in one stage
    only are compared whatever the stages are called. Only problems that both runs scored are used,
    so that both means are of the same problems.

    Raises:
        RunError: a directory holds no run or no evaluation, or the two share no problem.
    """
    ours, theirs = _scores(run_a), _scores(run_b)
    pairs = [(at, at) for at in ours if at in theirs]
    pairs += [
        (a, b)
        for a in ours
        for b in theirs
        if a[1:] == b[1:]
        and a not in theirs
        and b not in ours
        and _alone(a, ours)
        and _alone(b, theirs)
    ]
    rows = [c for a, b in pairs if (c := _compare(b, ours[a], theirs[b]))]
    if not rows:
        raise RunError(
            f"{run_a} and {run_b} share no model, task and problem; {_held(run_a, ours)}, "
            f"{_held(run_b, theirs)}"
        )
    used_a, used_b = {a for a, _ in pairs}, {b for _, b in pairs}
    return RunComparison(
        rows=rows,
        only_a=[at for at in ours if at not in used_a],
        only_b=[at for at in theirs if at not in used_b],
    )


def _alone(at: Place, scores: Mapping[Place, Sequence[Row]]) -> bool:
    return sum(other[1:] == at[1:] for other in scores) == 1


def _scores(path: Path) -> dict[Place, list[Row]]:
    found: dict[Place, list[Row]] = {}
    for stage, _, row in score_rows(read_run(path)):
        found.setdefault((stage.name, str(row["model"]), str(row["task"])), []).append(row)
    if not found:
        raise RunError(f"{path}: no finished evaluation; run the recipe's evaluate stage first")
    return found


def _held(path: Path, scores: Mapping[Place, Sequence[Row]]) -> str:
    return f"{path.name} has {', '.join(f'{m} on {t}' for _, m, t in scores)}"


def _compare(at: Place, a: Sequence[Row], b: Sequence[Row]) -> Comparison | None:
    binary = is_binary([*a, *b])
    key = "passed" if binary else "score"
    ours, theirs = by_problem(a, key), by_problem(b, key)
    shared = [p for p in ours if p in theirs]
    if not shared:
        return None
    x, y = [ours[p] for p in shared], [theirs[p] for p in shared]
    return Comparison(
        stage=at[0],
        model=at[1],
        task=at[2],
        metric="accuracy" if binary else "score",
        a=mean_interval(x),
        b=mean_interval(y),
        difference=paired_interval(y, x),
        test=paired_test(y, x),
        only_a=len(ours) - len(shared),
        only_b=len(theirs) - len(shared),
    )
