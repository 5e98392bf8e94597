"""A run's directory: what the executor writes and what reports, pages and chats read.

    recipe.yaml  env.json  lock
    stages/NN-name/{config.json, stage.json, tallies.json, metrics.jsonl, samples.jsonl,
                    artifacts/, checkpoints/}
    stages/old/    finished stages that a changed recipe replaced

A stage is finished when its stage.json is there: it is written last, and atomically.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from burnish.config import read_yaml, suggest
from burnish.errors import RunError
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Artifact, Ref
from burnish.pipeline.files import read_json, read_jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """A stage of a run as it lies on disk; `finished` says whether its outputs can be trusted."""

    name: str
    type: str
    key: str
    """Hash of all that the outputs depend on."""
    dir: Path
    config: Mapping[str, Any]
    finished: bool
    seconds: float
    """Wall time, summed over resumes; 0 until finished."""
    peak_bytes: int | None
    """The most memory that the process held meanwhile; None until finished, and where the system
    does not say."""
    artifacts: Mapping[str, Artifact]
    inputs: Mapping[str, str]
    """Reference -> SHA-256 of what was read."""

    def metrics(self) -> list[dict[str, float]]:
        """Rows of metrics.jsonl, in the order of writing."""
        return list(read_metrics(self.dir / "metrics.jsonl"))

    def samples(self) -> list[dict[str, Any]]:
        """Rows of samples.jsonl."""
        path = self.dir / "samples.jsonl"
        return list(read_jsonl(path)) if path.exists() else []

    def tallies(self) -> dict[str, Any]:
        """`counts`, `spent`, `values` and `notes` (see `stage.Tallies`); empty if unfinished."""
        empty: dict[str, Any] = {"counts": {}, "spent": {}, "values": {}, "notes": {}}
        return empty | (read_json(self.dir / "tallies.json") or {})


@dataclass(frozen=True, slots=True)
class Run:
    """Read-only access to a run's directory."""

    dir: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run. Raises: RunError, where there is none."""
        if not (path / "recipe.yaml").is_file():
            raise RunError(f"{path}: no run here (no recipe.yaml); give the directory of a run")
        return cls(path)

    @property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe as plain data."""
        return dict(read_yaml(self.dir / "recipe.yaml")[0])

    @property
    def env(self) -> list[dict[str, Any]]:
        """One entry for each time the run was started or resumed, oldest first."""
        return list((read_json(self.dir / "env.json") or {}).get("sessions", []))

    def stages(self) -> list[StageRecord]:
        """Stages of the recipe that were begun, in the order in which they run."""
        names = self._stage_names()
        dirs = sorted((self.dir / "stages").glob("[0-9]*-*"), key=stage_number)
        records = [read_stage(d, self.dir) for d in dirs]
        return [r for r in records if r is not None and r.name in names]

    def stage(self, name: str) -> StageRecord:
        """One stage. Raises: RunError, if it was not begun."""
        found = {record.name: record for record in self.stages()}
        if name not in found:
            hint = suggest(name, found) if found else "it has none yet"
            raise RunError(f"{self.dir}: this run has no stage {name}; {hint}")
        return found[name]

    def artifact(self, ref: Ref) -> Path:
        """Where a finished stage's output lies. Raises: RunError."""
        record = self.stage(ref.stage)
        if not record.finished:
            raise RunError(f"{self.dir}: stage {ref.stage} has not finished; burnish resume it")
        if ref.output not in record.artifacts:
            raise RunError(
                f"{self.dir}: stage {ref.stage} has no output {ref.output}; "
                f"{suggest(ref.output, record.artifacts)}"
            )
        return self.dir / record.artifacts[ref.output].path

    def finished(self) -> bool:
        """Whether every stage of the recipe has finished."""
        return {r.name for r in self.stages() if r.finished} == self._stage_names()

    def _stage_names(self) -> set[str]:
        stages = self.recipe.get("stages")
        return set(stages) if isinstance(stages, Mapping) else set()


def stage_number(path: Path) -> int:
    """12 for stages/12-name; -1 for a name that is not ours."""
    number = path.name.partition("-")[0]
    return int(number) if number.isdigit() else -1


def read_stage(path: Path, run_dir: Path) -> StageRecord | None:
    """What a stage's directory says of itself; None where not even config.json was written."""
    config, done = read_json(path / "config.json"), read_json(path / "stage.json")
    if config is None:
        return None
    inside = path.relative_to(run_dir)
    artifacts = {
        name: Artifact(**(entry | {"path": str(inside / entry["path"]), "made_by": config["name"]}))
        for name, entry in (done or {}).get("artifacts", {}).items()
    }
    return StageRecord(
        name=config["name"],
        type=config["type"],
        key=config["key"],
        dir=path,
        config=config["config"],
        finished=done is not None and done.get("key") == config["key"],
        seconds=float((done or {}).get("seconds", 0.0)),
        peak_bytes=(done or {}).get("peak_bytes"),
        artifacts=artifacts,
        inputs=(done or {}).get("inputs", {}),
    )


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run for writing.

    Raises:
        RunError: another process holds it (the kernel lets go when that process ends, however).
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read(20).strip() or "unknown"
            raise RunError(
                f"{run_dir} is in use by process {pid}; wait for it, stop it, or use another --out"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)
