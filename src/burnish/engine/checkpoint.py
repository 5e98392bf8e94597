"""Checkpoints that survive being killed at any moment.

A checkpoint is a directory `step-00000042/` with `tensors.safetensors` and `state.json` (the step,
the plain state and the SHA-256 of the tensors). It is written under a temporary name, flushed to
disk, then renamed: a name without `.tmp` is complete. Only after that is the one before removed, so
that a full disk leaves the last good one. No pickle, ever.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.errors import CheckpointError
from burnish.types import Json


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved: `step` is the next step to take."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Json]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Json]
) -> Path:
    """Write a complete checkpoint, then remove the older ones.

    Raises:
        CheckpointError: it could not be written (a full disk, say); the older one is kept.
    """
    final = folder / f"step-{step:08d}"
    tmp = final.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        file = tmp / "tensors.safetensors"
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, file)
        _flush(file)
        body = {"step": step, "sha256": _sha256(file), "state": dict(state)}
        (tmp / "state.json").write_text(json.dumps(body), encoding="utf-8")
        _flush(tmp / "state.json")
        _flush(tmp)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(tmp, final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(tmp, ignore_errors=True)
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        cause = "the disk is full" if full or "No space left" in str(error) else str(error)
        raise CheckpointError(
            f"{final}: could not write the checkpoint: {cause}; the last good one is kept; "
            "make room and run `burnish resume`"
        ) from error
    for old in folder.glob("step-*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    return final


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint, or None where there is none.

    Raises:
        CheckpointError: the newest one is damaged (its checksum does not match).
    """
    found = sorted(p for p in folder.glob("step-*") if p.suffix != ".tmp")
    if not found:
        return None
    newest = found[-1]
    try:
        body = json.loads((newest / "state.json").read_text(encoding="utf-8"))
        damaged = body["sha256"] != _sha256(newest / "tensors.safetensors")
        step, state = int(body["step"]), dict(body["state"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{newest}: damaged checkpoint ({error}); delete it") from error
    if damaged:
        raise CheckpointError(
            f"{newest}: checksum does not match; delete it to start the stage anew"
        )
    return Checkpoint(step, load_file(newest / "tensors.safetensors"), state)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
