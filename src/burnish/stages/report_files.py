"""A run directory as the report reads it: tolerant, read-only, and remembering what it read.

A report is most wanted when something went wrong, so nothing here raises for a missing or damaged
file: what cannot be read is listed in `problems`, which the page shows. Writing runs, locking and
resuming belong to `pipeline`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from burnish.errors import RunError
from burnish.types import Json

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactFile:
    """One output of a stage, as stage.json lists it; `path` is relative to the run."""

    name: str
    kind: str
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFiles:
    """One stage of the recipe and what it has left so far."""

    name: str
    type: str
    status: str
    """finished, unfinished (it has a directory but no stage.json) or not run."""
    folder: str
    """Relative to the run; "" where the stage has no directory."""
    seconds: float | None
    config: Row
    artifacts: tuple[ArtifactFile, ...]
    metrics: tuple[Row, ...]
    samples: tuple[Row, ...]
    tallies: Row
    reads: tuple[str, ...]
    """Names of the stages whose outputs it reads, from the recipe."""

    @property
    def spent(self) -> Row:
        """Tokens by kind, as tallied."""
        return _mapping(self.tallies.get("spent"))

    def path(self, name: str) -> str:
        """The path of one of the stage's own files, relative to the run."""
        return f"{self.folder}/{name}"


@dataclass(kw_only=True, slots=True)
class RunFiles:
    """The whole run, in the order of the recipe. `hashes` covers every file that was read."""

    dir: Path
    recipe: Row = field(default_factory=dict)
    env: Row = field(default_factory=dict)
    stages: tuple[StageFiles, ...] = ()
    hashes: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def sessions(self) -> list[Row]:
        """One entry for each time the run was started or resumed, oldest first."""
        listed = self.env.get("sessions")
        return [s for s in listed if isinstance(s, dict)] if isinstance(listed, list) else []

    @property
    def name(self) -> str:
        """The recipe's name, else the directory's."""
        return str(self.recipe.get("name") or self.dir.name)

    def stage(self, name: str) -> StageFiles | None:
        """The stage of that name; dashes and underscores are the same."""
        plain = name.replace("-", "_")
        return next((s for s in self.stages if s.name.replace("-", "_") == plain), None)

    def artifacts(self, kind: str) -> Iterator[tuple[StageFiles, ArtifactFile]]:
        """All outputs of a kind, in the order of the recipe."""
        for stage in self.stages:
            for artifact in stage.artifacts:
                if artifact.kind == kind:
                    yield stage, artifact

    def text(self, path: str) -> str | None:
        """A file's text, or None where there is none; its hash is kept."""
        try:
            raw = (self.dir / path).read_bytes()
        except OSError:
            return None
        self.hashes[path] = hashlib.sha256(raw).hexdigest()
        return raw.decode("utf-8", "replace")

    def object(self, path: str) -> Row:
        """A JSON object; {} where there is none, or (with a problem noted) where it is damaged."""
        text = self.text(path)
        if text is None:
            return {}
        value = self._parse(text, path)
        if not isinstance(value, dict):
            self.problems.append(f"{path}: not a JSON object")
            return {}
        return value

    def rows(self, path: str) -> tuple[Row, ...]:
        """The rows of a JSONL file, or of a JSON file that holds a list, or one list in an object.

        Rows that are no objects are left out and noted as a problem.
        """
        text = (self.text(path) or "").strip()
        whole = None if path.endswith(".jsonl") else _document(text)
        if whole is not None:
            return self._objects(_listed(whole), path)
        values = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                values.append(self._parse(line, f"{path}:{number}"))
        return self._objects(values, path)

    def _objects(self, values: Sequence[Json], path: str) -> tuple[Row, ...]:
        kept = tuple(v for v in values if isinstance(v, dict))
        bad = sum(v is not None and not isinstance(v, dict) for v in values)
        if bad:
            self.problems.append(f"{path}: {bad} rows are not JSON objects")
        return kept

    def _parse(self, text: str, where: str) -> Json:
        try:
            value: Json = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            self.problems.append(f"{where}: not valid JSON, left out")
            return None
        return value


def _document(text: str) -> Json:
    """The whole text as one JSON value, or None where it is not."""
    try:
        value: Json = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value


def _listed(value: Json) -> Sequence[Json]:
    """The rows that a document holds: itself, its only list of objects, or itself as one row."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        return lists[0] if len(lists) == 1 else [value]
    return []


def read_run(run_dir: Path) -> RunFiles:
    """Read what a run has left so far.

    Raises:
        RunError: the directory has neither a recipe nor stages.
    """
    if not (run_dir / "recipe.yaml").is_file() and not (run_dir / "stages").is_dir():
        raise RunError(f"{run_dir}: no recipe.yaml and no stages; give the directory of a run")
    run = RunFiles(dir=run_dir)
    run.recipe = _recipe(run)
    run.env = run.object("env.json")
    listed = _mapping(run.recipe.get("stages"))
    folders = _folders(run_dir)
    names = list(listed) or list(folders)
    run.stages = tuple(
        _stage(run, name, listed.get(name), folders.get(name, ""), names) for name in names
    )
    return run


def _recipe(run: RunFiles) -> Row:
    try:
        value = yaml.safe_load(run.text("recipe.yaml") or "")
    except yaml.YAMLError:
        run.problems.append("recipe.yaml: not valid YAML")
        return {}
    return _mapping(value)


def _folders(run_dir: Path) -> dict[str, str]:
    """Stage name -> its directory, which is called NN-name."""
    root = run_dir / "stages"
    found = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    return {name: f"stages/{n}" for n in found if (name := _stage_name(n))}


def _stage_name(folder: str) -> str:
    """The name in NN-name; "" for what is no stage's directory."""
    number, dash, name = folder.partition("-")
    return name if dash and number.isdigit() else ""


def _stage(run: RunFiles, name: str, listed: Any, folder: str, names: list[str]) -> StageFiles:
    made = run.object(f"{folder}/stage.json") if folder else {}
    began = run.object(f"{folder}/config.json") if folder else {}
    if made.get("key") != began.get("key"):
        made = {}  # what an earlier recipe left: not this stage's
    config = began.get("config") or {k: v for k, v in _mapping(listed).items() if k != "stage"}
    seconds = made.get("seconds")
    return StageFiles(
        name=name,
        type=str(began.get("type") or _mapping(listed).get("stage") or ""),
        status=("finished" if made else "unfinished") if folder else "not run",
        folder=folder,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        config=_mapping(config),
        artifacts=_artifacts(folder, _mapping(made.get("artifacts"))),
        metrics=run.rows(f"{folder}/metrics.jsonl") if folder else (),
        samples=run.rows(f"{folder}/samples.jsonl") if folder else (),
        tallies=run.object(f"{folder}/tallies.json") if folder else {},
        reads=_reads(name, _mapping(made.get("inputs")), config, names),
    )


def _reads(name: str, inputs: Row, config: Any, names: list[str]) -> tuple[str, ...]:
    """What a finished stage says it read; before that, what its fields refer to."""
    read = {str(ref).partition(".")[0] for ref in inputs}
    return tuple(n for n in names if n != name and (n in read if read else _mentions(config, n)))


def _mapping(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


def _artifacts(folder: str, listed: Row) -> tuple[ArtifactFile, ...]:
    return tuple(
        ArtifactFile(
            name=str(name),
            kind=str(body.get("kind", "")),
            path=f"{folder}/{body.get('path', '')}",
            sha256=str(body.get("sha256", "")),
        )
        for name, body in listed.items()
        if isinstance(body, dict)
    )


def _mentions(value: Any, stage: str) -> bool:
    """Whether a text `stage.output` stands anywhere in a stage's fields."""
    if isinstance(value, str):
        head, dot, output = value.partition(".")
        return head == stage and bool(dot) and output.isidentifier()
    if isinstance(value, Mapping):
        return any(_mentions(v, stage) for v in value.values())
    return isinstance(value, list | tuple) and any(_mentions(v, stage) for v in value)
