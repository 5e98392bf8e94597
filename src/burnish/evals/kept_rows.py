"""Rows of an evaluation that is under way, block by block: a kill loses one block at most.

They lie in the cache under a hash of all that they depend on, and go once all are there. A block is
drawn as a whole, so an evaluation that was stopped ends with the rows of one that was not.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import burnish
from burnish.pipeline.files import read_jsonl, write_atomic
from burnish.types import Problem, content_hash

BLOCK = 384
"""Problems: twice what is sampled at one time, so that little waits for a block's last ones."""


class KeptRows:
    """Of one model on one list of problems."""

    def __init__(self, cache: Path, problems: Sequence[Problem], *settings: str) -> None:
        """settings: what else rows depend on: the model's weights, how it is sampled, the seed."""
        parts = [part for p in problems for part in (p.id, p.meta)]
        self._dir = cache / "evals" / content_hash(burnish.__version__, *settings, *parts)

    def get(self, block: int, num: int) -> list[dict[str, Any]] | None:
        """A block's rows, where all `num` of them are there."""
        file = self._file(block)
        rows = list(read_jsonl(file)) if file.is_file() else []
        return rows if len(rows) == num else None

    def put(self, block: int, rows: Sequence[dict[str, Any]]) -> None:
        """Keep a block's rows."""
        write_atomic(self._file(block), "".join(json.dumps(row) + "\n" for row in rows))

    def clear(self) -> None:
        """Forget them: the evaluation is over."""
        shutil.rmtree(self._dir, ignore_errors=True)

    def _file(self, block: int) -> Path:
        return self._dir / f"{block:05}.jsonl"
