"""A reward function of the user's own: a file of the user's project and a name in it.

It runs in worker processes (`worker_pool`); docs/rewards.md says what it is given and what happens
when it fails.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from burnish.config import require, suggest
from burnish.errors import ConfigError, DataError
from burnish.types import Problem
from burnish.verifiers.worker_pool import Job, Sample, WorkerPool

MOST_WORKERS = 8
"""Of those that are started by default, however many cores there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserFunction:
    """A function of yours, `(prompt, completion, answer, meta) -> float | None`, in `path`.

    What fails or hangs leaves its completion unscored, and stops the run when it happens often.
    """

    path: str
    """A Python file, relative to where burnish is started. Editing it redoes the stage; files that
    it imports are not watched."""
    function: str = "score"
    batched: bool = False
    """It takes lists, of all completions of one problem in a step, and returns a list."""
    timeout_s: float = 10.0
    """For one completion; a batch has the sum. A call that takes longer is killed."""
    memory_mb: int | None = None
    """Address space of a worker process, where there is a limit."""
    workers: int | None = None
    """Processes at most; none: as many as there are cores, up to 8. Scores do not depend on it."""
    max_failures: float = 0.1
    """The run stops when a larger share of the last `window` completions failed."""
    window: int = 200
    """The share is of so many completions, or of those so far, but of 20 at least."""

    def __post_init__(self) -> None:
        require(bool(self.path), "path must name a Python file")
        require(self.function.isidentifier(), "function must be a function's name")
        require(0 < self.timeout_s < float("inf"), "timeout_s must be above 0")
        require(self.memory_mb is None or self.memory_mb >= 64, "memory_mb must be at least 64")
        require(self.workers is None or self.workers >= 1, "workers must be at least 1")
        require(0 <= self.max_failures <= 1, "max_failures must be from 0 to 1")
        require(self.window >= 20, "window must be at least 20")

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.path}:{self.function}"

    def digest(self) -> str:
        """A hash of the file's content, which is read but not run.

        Raises:
            ConfigError: it cannot be read, is not Python, or does not define the function.
        """
        source = self._source()
        try:
            defined = set(_names(ast.parse(source).body))
        except (SyntaxError, ValueError) as error:
            line = error.lineno if isinstance(error, SyntaxError) else None
            where = f"{self.path}:{line}" if line else self.path
            raise ConfigError(f"{where}: is not valid Python ({error})") from error
        if self.function not in defined and "*" not in defined:
            hint = suggest(self.function, defined) if defined else "it defines nothing"
            raise ConfigError(f"{self.path}: defines no function `{self.function}`; {hint}")
        return hashlib.sha256(source.encode("utf-8")).hexdigest()

    def pool(self) -> WorkerPool:
        """The processes that run it, none of which is started yet."""
        job = Job(
            path=str(Path(self.path).resolve()),
            source=self._source(),
            function=self.function,
            batched=self.batched,
            timeout_s=self.timeout_s,
            memory_mb=self.memory_mb,
        )
        return WorkerPool(job, num=self.workers or min(os.cpu_count() or 1, MOST_WORKERS))

    def _source(self) -> str:
        try:
            return Path(self.path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path}: cannot read the reward function ({error})") from error


def sample_of(problem: Problem, completion: str) -> Sample:
    """What the function is given.

    Raises:
        DataError: the problem's `meta` is no JSON object.
    """
    try:
        is_object = isinstance(json.loads(problem.meta), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise DataError(
            f"problem {problem.prompt.last_user[:40]!r}: `meta` must be a JSON object to be "
            "given to a reward function"
        )
    return Sample(
        prompt=problem.prompt.last_user,
        completion=completion,
        answer=problem.answer,
        meta=problem.meta,
    )


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """What the top level of a file defines; below `if` and `try` too."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign():
                yield from (t.id for t in node.targets if isinstance(t, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import() | ast.ImportFrom():
                yield from (a.asname or a.name for a in node.names)
            case ast.If():
                yield from _names([*node.body, *node.orelse])
            case ast.Try():
                handlers = [line for handler in node.handlers for line in handler.body]
                yield from _names([*node.body, *handlers, *node.orelse, *node.finalbody])
            case _:
                pass
