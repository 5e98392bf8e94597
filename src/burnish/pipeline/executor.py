"""Runs a recipe in a directory: skips what is done, redoes what changed, resumes what was cut off.

A stage is skipped when its stage.json holds the same key, its inputs are byte for byte those it
read, and its outputs are there. Killed at any moment, a run goes on from the last checkpoint.
"""

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from burnish import rng
from burnish.config import plain, suggest
from burnish.errors import ConfigError, Interrupted, RunError
from burnish.pipeline import environment
from burnish.pipeline.artifact import KINDS, Artifact, Ref, hash_path, size_of
from burnish.pipeline.clock import Clock, Ticking
from burnish.pipeline.files import read_json, sync_tree, write_atomic, write_json
from burnish.pipeline.progress import Screen, Silent
from burnish.pipeline.recipe import Recipe, dump, type_name
from burnish.pipeline.run import Run, StageRecord, locked, read_stage, stage_number
from burnish.pipeline.signals import Stopping, stop_signals
from burnish.pipeline.stage import Context, Stage, no_secret
from burnish.pipeline.wiring import inputs_of

_DISK = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "a file would be larger than is allowed here; see `ulimit -f`",
    errno.EROFS: "the disk is read-only; choose another --out",
    errno.EACCES: "permission denied; allow it or choose another --out",
}


def execute(
    recipe: Recipe,
    run_dir: Path,
    *,
    cache: Path,
    screen: Screen | None = None,
    expected_s: Mapping[str, float] | None = None,
    until: str | None = None,
    only: str | None = None,
    verify: bool = False,
    device: str = "cpu",
    secret: Callable[[str], str | None] = no_secret,
) -> Run:
    """Run what is not yet done of a recipe, and return the run.

    expected_s: seconds each stage should take, for the time left on screen. until: stop after this
    stage. only: run this stage alone; those it reads must be done. verify: trust finished outputs
    by their SHA-256 rather than by their size. device: where models compute, `cpu` or `cuda`;
    finished stages are not redone because of it. secret: looks up environment variables, where a
    stage's settings name one that holds a key.

    Raises:
        ConfigError: the recipe is wrong, or `until`/`only` name no stage.
        RunError: the directory is in use, or cannot be written.
        Interrupted: after SIGTERM or SIGINT, once the stage at work has saved itself.
    """
    recipe.validate()
    chosen = _chosen(recipe, until, only)
    show = screen if screen is not None else Silent()
    with _disk_errors(run_dir), locked(run_dir), stop_signals() as stopping:
        execution = _Execution(
            recipe=recipe,
            run_dir=run_dir,
            cache=cache,
            screen=show,
            stopping=stopping,
            keys=recipe.keys(),
            verify=verify,
            device=device,
            secret=secret,
        )
        execution.lay_out()
        show.begin(chosen, expected_s or {})
        try:
            for name in chosen:
                execution.step(name, may_run=only is None or name == only)
        finally:
            show.end()
    return Run.open(run_dir)


def _chosen(recipe: Recipe, until: str | None, only: str | None) -> list[str]:
    last = only or until
    if last is None:
        return recipe.order()
    if last not in recipe.stages:
        raise ConfigError(f"no stage `{last}`; {suggest(last, recipe.stages)}")
    needed = recipe.upstream(last) | {last}
    return [name for name in recipe.order() if name in needed]


@contextmanager
def _disk_errors(run_dir: Path) -> Iterator[None]:
    """Turn the disk's refusals into one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = error.filename or run_dir
        raise RunError(f"{where}: {_DISK[error.errno]}, then: burnish resume {run_dir}") from error


@dataclass(kw_only=True)
class _Execution:
    recipe: Recipe
    run_dir: Path
    cache: Path
    screen: Screen
    stopping: Stopping
    keys: Mapping[str, str]
    verify: bool
    device: str
    secret: Callable[[str], str | None]
    artifacts: dict[Ref, Artifact] = field(default_factory=dict)

    def lay_out(self) -> None:
        """Write the recipe and environment; move stages aside whose key has changed."""
        stages = self.run_dir / "stages"
        stages.mkdir(parents=True, exist_ok=True)
        write_atomic(self.run_dir / "recipe.yaml", dump(replace(self.recipe, budget="")))
        env = self.run_dir / "env.json"
        sessions = (read_json(env) or {}).get("sessions", [])
        write_json(env, {"sessions": [*sessions, environment.describe(self.device)]})
        wanted = {name: i for i, name in enumerate(self.recipe.order(), 1)}
        kept: dict[str, Path] = {}
        for path in sorted(stages.glob("[0-9]*-*"), key=stage_number):
            record = read_stage(path, self.run_dir)
            if record and record.name not in kept and self.keys.get(record.name) == record.key:
                kept[record.name] = path
            else:
                self._move_aside(path, record)
        for name, number in wanted.items():
            there = kept.get(name) or self._earlier(name)
            if there is not None and there != self._dir(number, name):
                there.rename(self._dir(number, name))

    def step(self, name: str, may_run: bool) -> None:
        """Make sure that a stage is done."""
        if self.stopping():
            raise Interrupted(self.stopping.signal_number)
        stage = self.recipe.stages[name]
        path = self._dir(self.recipe.order().index(name) + 1, name)
        read = {i.ref: self.artifacts[i.ref] for i in inputs_of(stage)}
        record = read_stage(path, self.run_dir)
        if record is not None and record.finished:
            wrong = self._why_redo(record, {str(r): a.sha256 for r, a in read.items()})
            if not wrong:
                shutil.rmtree(path / "checkpoints", ignore_errors=True)
                self._finished(record, "unchanged")
                return
            self.screen.line(f"{name}: {wrong}; it is run again")
            self._move_aside(path, record)
        if not may_run:
            raise RunError(f"stage {name} is not done; run it first, or use --until")
        self._run(name, stage, path, read)

    def _run(self, name: str, stage: Stage, path: Path, read: Mapping[Ref, Artifact]) -> None:
        resumed = self._prepare(name, stage, path)
        if resumed:
            self.screen.line(f"{name}: goes on from its last checkpoint")
        self.screen.enter(name)
        clock = Clock(path)
        context = Context(
            name=name,
            run_seed=self.recipe.seed,
            dir=path,
            run_dir=self.run_dir,
            cache=self.cache,
            inputs={ref: self.run_dir / artifact.path for ref, artifact in read.items()},
            outputs=stage.outputs,
            device=self.device,
            reporter=Ticking(self.screen, clock),
            stopping=self.stopping,
            secret=self.secret,
        )
        try:
            stage.run(context)
        except Interrupted as error:
            clock.save()
            raise Interrupted(self.stopping.signal_number) from error
        context.finish()
        outputs = {name: self._hashed(context, name, kind) for name, kind in stage.outputs.items()}
        write_json(
            path / "stage.json",
            {
                "name": name,
                "type": type_name(stage),
                "key": self.keys[name],
                "seconds": clock.seconds(),
                "peak_bytes": clock.peak_bytes(),
                "finished": time.time(),
                "inputs": {str(ref): artifact.sha256 for ref, artifact in read.items()},
                "artifacts": outputs,
            },
        )
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        clock.forget()
        record = read_stage(path, self.run_dir)
        assert record is not None
        self._finished(record, "")

    def _prepare(self, name: str, stage: Stage, path: Path) -> bool:
        """An orderly directory to run in; True if there is a checkpoint to go on from."""
        checkpoints = path / "checkpoints"
        resumed = checkpoints.is_dir() and any(checkpoints.iterdir())
        shutil.rmtree(path / "artifacts", ignore_errors=True)
        if not resumed:
            for leftover in ("metrics.jsonl", "samples.jsonl", "tallies.json"):
                (path / leftover).unlink(missing_ok=True)
        config = {
            "name": name,
            "type": type_name(stage),
            "key": self.keys[name],
            "seed": rng.key(self.recipe.seed, name),
            "config": plain(stage),
        }
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "config.json", config)
        return resumed

    def _hashed(self, context: Context, name: str, kind: str) -> dict[str, Any]:
        path = context.output(name)
        if not (path.is_file() if KINDS[kind] else path.is_dir()):
            what = "file" if KINDS[kind] else "directory"
            raise RunError(f"stage {context.name} ended without writing its {what} {name}")
        sync_tree(path)
        inside = path.relative_to(context.dir).as_posix()
        return {
            "kind": kind,
            "path": inside,
            "sha256": hash_path(path),
            "num_bytes": size_of(path),
        }

    def _finished(self, record: StageRecord, text: str) -> None:
        self.artifacts |= {Ref(record.name, n): a for n, a in record.artifacts.items()}
        self.screen.leave(record.name, record.seconds, text)

    def _why_redo(self, record: StageRecord, inputs: Mapping[str, str]) -> str:
        """What is wrong with a finished stage ("" for nothing)."""
        if dict(record.inputs) != inputs:
            return "what it read has changed"
        for name, artifact in record.artifacts.items():
            path = self.run_dir / artifact.path
            if size_of(path) != artifact.num_bytes:
                return f"its output {name} is missing or cut short"
            if self.verify and hash_path(path) != artifact.sha256:
                return f"its output {name} is not what was written"
        return ""

    def _dir(self, number: int, name: str) -> Path:
        return self.run_dir / "stages" / f"{number:02}-{name}"

    def _move_aside(self, path: Path, record: StageRecord | None) -> None:
        if record is None:  # killed before config.json was written: nothing is in it
            shutil.rmtree(path)
            return
        old = self.run_dir / "stages" / "old"
        old.mkdir(exist_ok=True)
        target = old / f"{path.name}-{record.key[:8]}"
        if target.exists():
            shutil.rmtree(target)
        path.rename(target)
        self.screen.line(f"{record.name}: changed; the earlier one is now {target}")

    def _earlier(self, name: str) -> Path | None:
        """A stage moved aside before, that has the key which is wanted again."""
        for path in sorted((self.run_dir / "stages" / "old").glob(f"*-{name}-*")):
            record = read_stage(path, self.run_dir)
            if record and record.name == name and record.key == self.keys[name]:
                return path
        return None
