"""What a stage is, and what it is given to run with.

A stage is a frozen dataclass: its fields are its knobs and the outputs of other stages that it
reads. Everything it may touch while running comes through its Context.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from burnish import rng
from burnish.config import suggest
from burnish.errors import RunError
from burnish.metrics import MetricsWriter
from burnish.pipeline.artifact import KINDS, Ref
from burnish.pipeline.files import fsync, write_json
from burnish.pipeline.progress import Progress, Reporter, Silent


class Stage(Protocol):
    """A frozen dataclass with `outputs` (name -> kind) that writes all of them in `run`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def outputs(self) -> Mapping[str, str]:
        """Mostly a ClassVar; a property where the fields decide what is written."""
        ...

    def run(self, ctx: "Context") -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a stage is expected to cost. `seconds` is what no count explains.

    Reading the prompts of completions counts as scoring.
    """

    sampled_tokens: float = 0.0
    trained_tokens: float = 0.0
    scored_tokens: float = 0.0
    decode_steps: float = 0.0
    """Tokens sampled one after another: each costs something however many rows it is for."""
    optimizer_steps: float = 0.0
    opened: float = 0.0
    """Models read or written."""
    seconds: float = 0.0

    @property
    def forwards(self) -> float:
        """Its tokens in forward passes of one token, each of 2 FLOPs a parameter."""
        return forwards(self.sampled_tokens, self.trained_tokens, self.scored_tokens)

    def within(self, most: float | None) -> Self:
        """The same work, stopped once it has taken `most` forward passes; None: all of it."""
        share = 1.0 if most is None or not self.forwards else min(most / self.forwards, 1.0)
        return dataclasses.replace(
            self,
            sampled_tokens=share * self.sampled_tokens,
            trained_tokens=share * self.trained_tokens,
            scored_tokens=share * self.scored_tokens,
        )


def forwards(sampled_tokens: float, trained_tokens: float, scored_tokens: float) -> float:
    """Forward passes of one token: one to sample or to score it, three to train on it.

    A forward pass takes 2 FLOPs a parameter, a backward pass twice that (Kaplan et al. 2020,
    2001.08361, section 2.1); attention over the context is left out.
    """
    return sampled_tokens + 3 * trained_tokens + scored_tokens


@runtime_checkable
class Sized(Protocol):
    """A stage that knows its cost, and can be made smaller to fit a budget."""

    def work(self) -> Work: ...

    def scaled(self, factor: float) -> Self:
        """The same stage with about `factor` (0 to 1) of its steps, and at least one."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A stage that reads files which are no artifacts: its key follows their content."""

    def fingerprint(self) -> str: ...


@runtime_checkable
class Versioned(Protocol):
    """A stage whose code changed what it writes: raising `version` redoes it."""

    @property
    def version(self) -> int: ...


@dataclass(kw_only=True, slots=True)
class Tallies:
    """What a stage counted, spent and remarked; values are absolute, so a resume sets them anew."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _never() -> bool:
    return False


def no_secret(name: str) -> str | None:
    """There are none."""
    return None


@dataclass(frozen=True, kw_only=True)
class Context:
    """All that a running stage may touch."""

    name: str
    """The stage's name in the recipe."""
    run_seed: int
    dir: Path
    """The stage's own directory."""
    run_dir: Path
    cache: Path
    """Where fetched weights are kept, shared between runs."""
    inputs: Mapping[Ref, Path]
    outputs: Mapping[str, str]
    device: str = "cpu"
    """Where models are opened, in torch's words: `cpu` or `cuda`."""
    reporter: Reporter = field(default_factory=Silent)
    stopping: Callable[[], bool] = _never
    """True after SIGTERM or SIGINT: save a checkpoint and raise `errors.Interrupted`."""
    secret: Callable[[str], str | None] = no_secret
    """Looks up an environment variable, for keys: values are used, and written nowhere."""
    tallies: Tallies = field(default_factory=Tallies)

    @property
    def seed(self) -> int:
        """The stage's own seed: it follows the run's seed and the stage's name."""
        return rng.key(self.run_seed, self.name)

    @property
    def metrics(self) -> MetricsWriter:
        """The stage's metrics; on a resume, `rewind` it to the checkpoint's step first."""
        return MetricsWriter(self.dir / "metrics.jsonl")

    @property
    def checkpoints(self) -> Path:
        """A directory that outlives a kill and is removed once the stage has finished."""
        path = self.dir / "checkpoints"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def input(self, ref: Ref) -> Path:
        """Where another stage's output lies. Raises: RunError, for a ref that no field holds."""
        if ref not in self.inputs:
            known = [str(r) for r in self.inputs]
            raise RunError(f"stage {self.name} does not read {ref}; {suggest(str(ref), known)}")
        return self.inputs[ref]

    def output(self, name: str) -> Path:
        """Where to write an output: a file, or for kinds of weights a directory (not yet made)."""
        if name not in self.outputs:
            raise RunError(f"stage {self.name}: no output {name}; {suggest(name, self.outputs)}")
        path = self.dir / "artifacts" / f"{name}{KINDS[self.outputs[name]]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the samples that the report shows, atomically."""
        path = self.dir / "samples.jsonl"
        tmp = path.with_name("samples.jsonl.tmp")
        with tmp.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(tmp, path)
        fsync(path.parent)

    def count(self, reason: str, n: int, of: int | None = None) -> None:
        """Say that `n` (of `of`) things were dropped, truncated or skipped, and why.

        The last call for a reason holds: pass totals, not increments.
        """
        self.tallies.counts[reason] = {"n": n} if of is None else {"n": n, "of": of}

    def spend(
        self,
        *,
        sampled_tokens: float | None = None,
        trained_tokens: float | None = None,
        scored_tokens: float | None = None,
    ) -> None:
        """Set the stage's totals of tokens so far (totals, not increments)."""
        given = {
            "sampled_tokens": sampled_tokens,
            "trained_tokens": trained_tokens,
            "scored_tokens": scored_tokens,
        }
        self.tallies.spent |= {k: float(v) for k, v in given.items() if v is not None}

    def tally(self, key: str, value: float) -> None:
        """Set a number that the report shows beside this stage."""
        self.tallies.values[key] = value

    def note(self, text: str, key: str = "") -> None:
        """A line for the report; a later note with the same key replaces it."""
        self.tallies.notes[key or text] = text

    def warn(self, text: str, key: str = "") -> None:
        """A note that is also shown at once."""
        self.note(text, key)
        self.reporter.line(f"{self.name}: {text}")

    def progress(self, total: int, unit: str) -> Progress:
        """Show progress over `total` units (such as "step") on the terminal."""
        return self.reporter.task(total, unit)

    def finish(self) -> None:
        """Write the tallies; the executor calls this when `run` has returned."""
        write_json(self.dir / "tallies.json", self.tallies.to_json())

    @classmethod
    def for_test(
        cls,
        tmp_path: Path,
        *,
        outputs: Mapping[str, str],
        inputs: Mapping[str, Path] | None = None,
        run_seed: int = 0,
        name: str = "test",
        cache: Path | None = None,
        device: str = "cpu",
        stopping: Callable[[], bool] = _never,
        secret: Callable[[str], str | None] = no_secret,
    ) -> Self:
        """A silent context over a temporary directory; `inputs` maps "stage.output" to a path."""
        stage_dir = tmp_path / "stages" / f"01-{name}"
        stage_dir.mkdir(parents=True, exist_ok=True)
        return cls(
            name=name,
            run_seed=run_seed,
            dir=stage_dir,
            run_dir=tmp_path,
            cache=cache or tmp_path / "cache",
            inputs={Ref.from_text(k): v for k, v in (inputs or {}).items()},
            outputs=outputs,
            device=device,
            stopping=stopping,
            secret=secret,
        )
