"""The everyday instructions and demonstrations that come with the package.

Written for this project, so that a first run needs no download: prompts as people type them, some
with constraints that a program can check.
"""

import hashlib
import json
from pathlib import Path

from burnish.data.readers import Row, read_rows
from burnish.data.schema import text_of
from burnish.errors import DataError
from burnish.types import Conversation, Json, Problem

TASK = "everyday"
_FOLDER = Path(__file__).parent / "everyday"


def instructions() -> list[Problem]:
    """Prompts; `meta` is JSON of `{"topic", "constraints"}`, a constraint being `{"kind", ...}`."""
    return [
        Problem(
            prompt=Conversation.of(text_of(row.value, "prompt", row.where)),
            task=TASK,
            meta=json.dumps(
                {
                    "topic": text_of(row.value, "topic", row.where),
                    "constraints": _constraints(row),
                },
                ensure_ascii=False,
            ),
        )
        for row in _rows("instructions_a", "instructions_b")
    ]


def demonstrations() -> list[Conversation]:
    """Good short answers to everyday prompts, none of them among `instructions`."""
    return _demonstrations("demonstrations_a", "demonstrations_b")


def format_demonstrations() -> list[Conversation]:
    """Answers that reason first and end with a line `Answer: ...`."""
    return _demonstrations("format_demonstrations")


def everyday_digest() -> str:
    """SHA-256 of the files behind all this."""
    digest = hashlib.sha256()
    for path in sorted(_FOLDER.glob("*.jsonl")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _demonstrations(*names: str) -> list[Conversation]:
    return [
        Conversation.of(
            text_of(row.value, "prompt", row.where), text_of(row.value, "answer", row.where)
        )
        for row in _rows(*names)
    ]


def _rows(*names: str) -> list[Row]:
    return [row for name in names for row in read_rows(_FOLDER / f"{name}.jsonl").rows]


def _constraints(row: Row) -> list[Json]:
    constraints = row.value.get("constraints")
    if not isinstance(constraints, list) or not all(
        isinstance(c, dict) and "kind" in c for c in constraints
    ):
        raise DataError(f"{row.where}: `constraints` must be a list of objects with a `kind`")
    return constraints
