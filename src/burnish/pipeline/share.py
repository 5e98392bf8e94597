"""Stages that another run has finished already, taken over where they are the same to the byte.

A stage's key covers all that its outputs depend on. So a run may have another's finished stage of
the same key as if it were its own; the files are hard links, where the disk allows them.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from burnish.pipeline.files import link, sync_tree
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.run import locked, read_stage, stage_number


def take_over(recipe: Recipe, run_dir: Path, others: Iterable[Path]) -> list[str]:
    """Link the recipe's stages that other runs have finished into a run; returns their names.

    What the run has of its own stays. Killed midway, a stage is taken over anew.

    Raises:
        RunError: another process holds the run.
    """
    keys = recipe.keys()
    taken: list[str] = []
    with locked(run_dir):
        missing = set(keys) - _finished(run_dir, keys).keys()
        for other in others:
            found = _finished(other, keys)
            for name in [n for n in recipe.order() if n in missing and n in found]:
                number = recipe.order().index(name) + 1
                _link_stage(found[name], run_dir / "stages" / f"{number:02}-{name}")
                missing.remove(name)
                taken.append(name)
    return taken


def _finished(run_dir: Path, keys: dict[str, str]) -> dict[str, Path]:
    found = {}
    for path in sorted((run_dir / "stages").glob("[0-9]*-*"), key=stage_number):
        record = read_stage(path, run_dir)
        if record is not None and record.finished and keys.get(record.name) == record.key:
            found[record.name] = path
    return found


def _link_stage(source: Path, target: Path) -> None:
    """All files but checkpoints, under another name until the last of them is there."""
    half = target.with_name(f"half-{target.name}")
    shutil.rmtree(half, ignore_errors=True)
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        inside = file.relative_to(source)
        if inside.parts[0] != "checkpoints":
            (half / inside).parent.mkdir(parents=True, exist_ok=True)
            link(file, half / inside)
    sync_tree(half)
    if target.exists():  # begun, not finished: what it has cost is less than what is there now
        shutil.rmtree(target)
    os.replace(half, target)
