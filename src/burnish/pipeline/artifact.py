"""What stages hand to one another: named, typed, hashed files of a run.

A stage's field says which kind it wants (`model: ModelRef`), so that a recipe that feeds
completions where a model belongs is refused before anything runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self, TypeAlias

from burnish.errors import ConfigError, RunError

KINDS: Mapping[str, str] = {
    "model": "",
    "adapter": "",
    "reward_model": "",
    "value_model": "",
    "policy": "",
    "snapshots": "",
    "conversations": ".jsonl",
    "texts": ".jsonl",
    "problems": ".jsonl",
    "completions": ".jsonl",
    "comparisons": ".jsonl",
    "pairs": ".jsonl",
    "ratings": ".jsonl",
    "steps": ".jsonl",
    "scores": ".jsonl",
    "calibration": ".json",
    "curves": ".json",
    "metrics": ".json",
    "report": ".html",
}
"""Kind of artifact -> suffix of its file; "" is a directory (weights and what belongs to them)."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Another stage's output, written `stage.output` in YAML."""

    stage: str
    output: str

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The inverse of `to_text`. Raises: ConfigError."""
        stage, dot, output = text.partition(".")
        if not (stage and dot and output) or "." in output:
            raise ConfigError(f"{text!r} names no output; write it as stage.output")
        return cls(stage, output)

    def to_text(self) -> str:
        return f"{self.stage}.{self.output}"

    def __str__(self) -> str:
        return self.to_text()


# The text beside Ref is the kind wanted; a plain Ref takes any kind.
ModelRef: TypeAlias = Annotated[Ref, "model"]
AdapterRef: TypeAlias = Annotated[Ref, "adapter"]
RewardModelRef: TypeAlias = Annotated[Ref, "reward_model"]
ValueModelRef: TypeAlias = Annotated[Ref, "value_model"]
PolicyRef: TypeAlias = Annotated[Ref, "policy"]
SnapshotsRef: TypeAlias = Annotated[Ref, "snapshots"]
ConversationsRef: TypeAlias = Annotated[Ref, "conversations"]
DemonstrationsRef: TypeAlias = Annotated[Ref, "conversations", "completions"]
TextsRef: TypeAlias = Annotated[Ref, "texts"]
DocumentsRef: TypeAlias = Annotated[Ref, "conversations", "completions", "texts"]
ProblemsRef: TypeAlias = Annotated[Ref, "problems"]
CompletionsRef: TypeAlias = Annotated[Ref, "completions"]
ComparisonsRef: TypeAlias = Annotated[Ref, "comparisons"]
PairsRef: TypeAlias = Annotated[Ref, "pairs"]
PreferencesRef: TypeAlias = Annotated[Ref, "comparisons", "pairs"]
RatingsRef: TypeAlias = Annotated[Ref, "ratings"]
StepsRef: TypeAlias = Annotated[Ref, "steps"]
ScoresRef: TypeAlias = Annotated[Ref, "scores"]
CalibrationRef: TypeAlias = Annotated[Ref, "calibration"]
CurvesRef: TypeAlias = Annotated[Ref, "curves"]
MetricsRef: TypeAlias = Annotated[Ref, "metrics"]
ReportRef: TypeAlias = Annotated[Ref, "report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One output of a finished stage. `path` is relative to the run; `made_by` is the stage."""

    kind: str
    path: str
    sha256: str
    num_bytes: int
    made_by: str


def hash_path(path: Path) -> str:
    """SHA-256 of a file, or of a directory's sorted relative names with their files' hashes.

    Raises:
        RunError: there is no such file, or a directory holds a symbolic link.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise RunError(f"{path}: no such file")
    digest = hashlib.sha256()
    for name, file_path in _files(path):
        digest.update(f"{name}\0{hash_path(file_path)}\n".encode())
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes in a file, or in all files below a directory; -1 where there is nothing."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for _, p in _files(path)) if path.is_dir() else -1


def _files(path: Path) -> list[tuple[str, Path]]:
    found = []
    for item in sorted(path.rglob("*"), key=lambda p: p.relative_to(path).as_posix()):
        if item.is_symlink():
            raise RunError(f"{item}: a symbolic link inside an artifact; copy the file instead")
        if item.is_file():
            found.append((item.relative_to(path).as_posix(), item))
    return found
