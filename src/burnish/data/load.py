"""Whole files -> typed items, with a count of all that was read, used and dropped, and why."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from burnish.data.labels import to_rating, to_steps
from burnish.data.pairs import settle, to_pairs
from burnish.data.readers import Row, read_rows
from burnish.data.schema import Drop, to_conversations, to_problem, to_text
from burnish.errors import DataError
from burnish.types import Conversation, PreferencePair, Problem, Rating, WorkedAnswer

T = TypeVar("T")
BAD_ROWS = "bad_rows"


def load_conversations(
    path: str | Path, *, skip_bad: bool = False
) -> tuple[list[Conversation], dict[str, int]]:
    """Demonstrations for SFT, and counts: `rows`, `used`, and each reason for dropping.

    Raises:
        DataError: a row is wrong (unless `skip_bad`, which counts `bad_rows`), or none is left.
    """
    items, counts = _load(path, to_conversations, skip_bad)
    return items, _report(path, items, counts)


def load_texts(path: str | Path, *, skip_bad: bool = False) -> tuple[list[str], dict[str, int]]:
    """Plain texts, the first of several equal ones, and counts as `load_conversations`.

    Raises:
        DataError: as there.
    """
    items, counts = _load(path, lambda row: [to_text(row)], skip_bad)
    unique = list(dict.fromkeys(items))
    counts[Drop.DUPLICATE] += len(items) - len(unique)
    return unique, _report(path, unique, counts)


def load_problems(
    path: str | Path, *, task: str = "", skip_bad: bool = False
) -> tuple[list[Problem], dict[str, int]]:
    """Problems, the first of several equal ones, and counts as `load_conversations`.

    Raises:
        DataError: as there.
    """
    items, counts = _load(path, lambda row: [to_problem(row, task=task)], skip_bad)
    by_content: dict[str, Problem] = {}
    for item in items:
        by_content.setdefault(item.id + item.meta, item)
    unique = list(by_content.values())
    counts[Drop.DUPLICATE] += len(items) - len(unique)
    return unique, _report(path, unique, counts)


def load_pairs(
    path: str | Path, *, skip_bad: bool = False, keep_contradictions: bool = False
) -> tuple[list[PreferencePair], dict[str, int]]:
    """Preference pairs without repetitions, and counts as `load_conversations`.

    Raises:
        DataError: as there.
    """
    items, counts = _load(path, to_pairs, skip_bad)
    kept, drops = settle(items, keep_contradictions=keep_contradictions)
    counts.update({str(reason): number for reason, number in drops.items()})
    return kept, _report(path, kept, counts)


def load_ratings(
    path: str | Path, *, skip_bad: bool = False
) -> tuple[list[Rating], dict[str, int]]:
    """Rated completions, and counts as `load_conversations`.

    Raises:
        DataError: as there.
    """
    items, counts = _load(path, lambda row: [to_rating(row)], skip_bad)
    return items, _report(path, items, counts)


def load_steps(
    path: str | Path, *, skip_bad: bool = False
) -> tuple[list[WorkedAnswer], dict[str, int]]:
    """Answers in labelled steps, and counts as `load_conversations`.

    Raises:
        DataError: as there.
    """
    items, counts = _load(path, lambda row: [to_steps(row)], skip_bad)
    return items, _report(path, items, counts)


def _load(
    path: str | Path, convert: Callable[[Row], list[T | Drop]], skip_bad: bool
) -> tuple[list[T], Counter[str]]:
    read = read_rows(path, skip_bad=skip_bad)
    counts: Counter[str] = Counter({"rows": len(read.rows) + read.num_bad, BAD_ROWS: read.num_bad})
    items: list[T] = []
    for row in read.rows:
        try:
            found = convert(row)
        except DataError:
            if not skip_bad:
                raise
            counts[BAD_ROWS] += 1
            continue
        for item in found:
            if isinstance(item, Drop):
                counts[str(item)] += 1
            else:
                items.append(item)
    return items, counts


def _report(path: str | Path, items: list[T], counts: Counter[str]) -> dict[str, int]:
    dropped = {key: n for key, n in counts.items() if n and key != "rows"}
    if not items:
        why = ", ".join(f"{n} {key}" for key, n in dropped.items()) or "the file is empty"
        raise DataError(f"{path}: no row is left of {counts['rows']} ({why})")
    return {"rows": counts["rows"], "used": len(items)} | dropped
