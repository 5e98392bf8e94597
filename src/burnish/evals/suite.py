"""What an evaluation suite is: problems from a path, how to decode, and the numbers it reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from burnish.data.load import load_problems
from burnish.errors import ConfigError, DataError
from burnish.evals.clusters import clustered_difference, clustered_share
from burnish.evals.stats import Interval, mean_interval, paired_interval
from burnish.types import Json, Problem
from burnish.verifiers.verify import verify_problem

Row: TypeAlias = Mapping[str, Any]
HUB = "hub:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A share that a suite reports."""

    name: str
    successes: Callable[[Row], float]
    """Of one completion: 0 or 1; or, of its parts, how many."""
    parts: Callable[[Row], int] | None = None
    """How many parts a completion is judged in; None: as one."""

    def interval(self, rows: Sequence[Row]) -> Interval:
        """The share over the rows that have a score, each of another problem."""
        scored = [row for row in rows if row["score"] is not None]
        values = [self.successes(row) for row in scored]
        if self.parts is None:
            return mean_interval(values, binary=True)
        return clustered_share(values, [self.parts(row) for row in scored])

    def difference(self, a: Sequence[Row], b: Sequence[Row]) -> Interval:
        """The share in `a` less that in `b`: rows of the same problems in the same order.

        Problems that either has no score for are left out of both.
        """
        pairs = [
            (x, y)
            for x, y in zip(a, b, strict=True)
            if x["score"] is not None and y["score"] is not None
        ]
        mine, other = [self.successes(x) for x, _ in pairs], [self.successes(y) for _, y in pairs]
        if self.parts is None:
            return paired_interval(mine, other)
        return clustered_difference(mine, other, [self.parts(x) for x, _ in pairs])


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A published set of problems, and how its results are reported."""

    name: str
    task: str
    """Which names the verifier."""
    about: str
    measures: tuple[Measure, ...]
    max_new_tokens: int
    files: tuple[str, ...] = ()
    """What its file is called in a directory, the first that is there."""
    temperature: float = 0.0
    details: Callable[[Problem, str], Mapping[str, Json]] = field(default=lambda p, text: {})
    """What a row says beyond the verdict: measures read it."""
    hub: str = ""
    """Where the problems are on a hub, for those who fetch them."""
    shipped: Callable[[], list[Problem]] | None = None
    """The problems, where an installed package has them: no data need be given."""

    def file(self, data: Path) -> Path:
        """The file itself, or the suite's file in a directory. Raises: DataError."""
        if not data.is_dir():
            return data
        found = next((data / name for name in self.files if (data / name).is_file()), None)
        if found is None:
            raise DataError(f"{data}: none of {', '.join(self.files)} is there; give the file")
        return found

    def problems(self, data: str | None) -> tuple[list[Problem], dict[str, int]]:
        """All problems of a file, a directory or a hub's data set, and counts of dropped rows.

        Raises:
            ConfigError: no data is given.
            DataError: there is none, a row is wrong, or a problem is not of this suite.
        """
        if not data and self.shipped is not None:
            return self.shipped(), {}
        if not data:
            hub = f", or {self.hub} with HF_HUB_OFFLINE=0 to fetch it" if self.hub else ""
            raise ConfigError(
                f"the suite {self.name} reads its problems from --data: a file such as "
                f"{self.files[0]}, or the directory it lies in{hub}"
            )
        path = data if data.startswith(HUB) else self.file(Path(data).expanduser())
        problems, counts = load_problems(path, task=self.task)
        for problem in problems:
            if problem.task != self.task:
                raise DataError(
                    f"{path}: a problem of the task {problem.task}; {self.name} has {self.task}"
                )
            try:
                scored = verify_problem(problem, "").score is not None
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
            if not scored:
                raise DataError(
                    f"{path}: problem {problem.prompt.last_user[:40]!r} has no reference answer"
                )
        return problems, counts
