"""Writes that survive being killed: a reader sees the old file or the new one, never a part."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from burnish.errors import RunError


def write_atomic(path: Path, text: str) -> None:
    """Write to a temporary name, fsync, rename over `path`, fsync the directory."""
    tmp = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tmp.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(tmp, path)
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Make a file's bytes, or the renames inside a directory, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Make a file, or a directory and all below it, durable against a power cut."""
    for item in [*path.rglob("*"), path] if path.is_dir() else [path]:
        fsync(item)
    fsync(path.parent)


def link(source: Path, target: Path) -> None:
    """A hard link where the file system allows one, else a copy: for files nobody changes."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_files(source: Path, target: Path) -> None:
    """Link the files of a directory, such as a model's, into another, which is made if need be."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.is_file():
            link(file, target / file.name)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file of ours, or None where there is no such file.

    Raises:
        RunError: the file is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error}); move it away and run again") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: must hold a JSON object; move it away and run again")
    return value


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file of ours.

    Raises:
        RunError: a line is not a JSON object; names path:line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise RunError(f"{path}:{number}: not valid JSON") from error
            if not isinstance(row, dict):
                raise RunError(f"{path}:{number}: must be a JSON object")
            yield row
