"""The JSON form of what stages hand to one another, and atomic files of it.

One row a line. Reading is the exact inverse of writing; a damaged line names its file and number.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from burnish.errors import DataError
from burnish.pipeline.files import write_atomic
from burnish.types import (
    Comparison,
    Conversation,
    Finish,
    PreferencePair,
    Problem,
    Rating,
    WorkedAnswer,
    conversation_from_json,
)

T = TypeVar("T")
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """A completion with the problem it answers and its token ids, as the Sample stage writes it."""

    problem: Problem
    index: int
    """Which of the problem's completions."""
    text: str
    prompt_ids: tuple[int, ...]
    tokens: tuple[int, ...]
    logprob: float
    """Summed, under the distribution that was sampled from."""
    finish: Finish


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows atomically, one JSON object a line; returns how many."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_atomic(path, "".join(lines))
    return len(lines)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that `write_rows` wrote.

    Raises:
        DataError: a line is not a JSON object; names path:line.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: must be an object")
        rows.append(row)
    return rows


def write_conversations(path: Path, items: Iterable[Conversation]) -> int:
    """Conversations as `{"messages": [...]}` rows."""
    return write_rows(path, (item.to_json() for item in items))


def read_conversations(path: Path) -> list[Conversation]:
    """The inverse of `write_conversations`."""
    return _read(path, conversation_from_json)


def write_texts(path: Path, items: Iterable[str]) -> int:
    """Plain texts as `{"text"}` rows."""
    return write_rows(path, ({"text": item} for item in items))


def read_texts(path: Path) -> list[str]:
    """The inverse of `write_texts`."""

    def item(row: Row, where: str) -> str:
        return str(row["text"])

    return _read(path, item)


def write_problems(path: Path, items: Iterable[Problem]) -> int:
    """Problems as `{"prompt", "task", "answer", "meta"}` rows."""
    return write_rows(path, map(_problem_row, items))


def read_problems(path: Path) -> list[Problem]:
    """The inverse of `write_problems`."""
    return _read(path, _problem)


def write_completions(path: Path, items: Iterable[Sampled]) -> int:
    """Completions, with their problems and token ids."""
    return write_rows(
        path,
        (
            {
                "problem": _problem_row(item.problem),
                "index": item.index,
                "text": item.text,
                "prompt_ids": item.prompt_ids,
                "tokens": item.tokens,
                "logprob": item.logprob,
                "finish": item.finish.value,
            }
            for item in items
        ),
    )


def read_completions(path: Path) -> list[Sampled]:
    """The inverse of `write_completions`."""

    def item(row: Row, where: str) -> Sampled:
        return Sampled(
            problem=_problem(row["problem"], where),
            index=row["index"],
            text=row["text"],
            prompt_ids=tuple(row["prompt_ids"]),
            tokens=tuple(row["tokens"]),
            logprob=row["logprob"],
            finish=Finish(row["finish"]),
        )

    return _read(path, item)


def read_documents(path: Path) -> list[Conversation | Sampled | str]:
    """What `write_conversations`, `write_completions` or `write_texts` wrote."""
    rows = read_rows(path)
    if rows and "tokens" in rows[0]:
        return [*read_completions(path)]
    return [*read_conversations(path)] if rows and "messages" in rows[0] else [*read_texts(path)]


def write_comparisons(path: Path, items: Iterable[Comparison]) -> int:
    """Annotation events, in the order they happened."""
    return write_rows(
        path,
        (
            {
                "prompt": item.prompt.to_json(),
                "a": item.a,
                "b": item.b,
                "winner": item.winner,
                "annotator": item.annotator,
                "seconds": item.seconds,
                "shown_order": item.shown_order,
                "margin": item.margin,
            }
            for item in items
        ),
    )


def read_comparisons(path: Path) -> list[Comparison]:
    """The inverse of `write_comparisons`."""

    def item(row: Row, where: str) -> Comparison:
        prompt = conversation_from_json(row["prompt"], where)
        return Comparison(prompt=prompt, **{k: v for k, v in row.items() if k != "prompt"})

    return _read(path, item)


def write_pairs(path: Path, items: Iterable[PreferencePair]) -> int:
    """Preference pairs."""
    return write_rows(
        path,
        (
            {
                "prompt": item.prompt.to_json(),
                "chosen": item.chosen,
                "rejected": item.rejected,
                "source": item.source,
                "margin": item.margin,
                "shown_first": item.shown_first,
            }
            for item in items
        ),
    )


def read_pairs(path: Path) -> list[PreferencePair]:
    """The inverse of `write_pairs`."""

    def item(row: Row, where: str) -> PreferencePair:
        prompt = conversation_from_json(row["prompt"], where)
        return PreferencePair(prompt=prompt, **{k: v for k, v in row.items() if k != "prompt"})

    return _read(path, item)


def read_preferences(path: Path) -> list[Comparison | PreferencePair]:
    """What `write_comparisons` or `write_pairs` wrote."""
    rows = read_rows(path)
    return [*read_comparisons(path)] if rows and "winner" in rows[0] else [*read_pairs(path)]


def write_ratings(path: Path, items: Iterable[Rating]) -> int:
    """Rated completions."""
    return write_rows(
        path,
        (
            {
                "prompt": item.prompt.to_json(),
                "completion": item.completion,
                "values": dict(item.values),
            }
            for item in items
        ),
    )


def read_ratings(path: Path) -> list[Rating]:
    """The inverse of `write_ratings`."""

    def item(row: Row, where: str) -> Rating:
        prompt = conversation_from_json(row["prompt"], where)
        return Rating(prompt=prompt, completion=row["completion"], values=row["values"])

    return _read(path, item)


def write_steps(path: Path, items: Iterable[WorkedAnswer]) -> int:
    """Answers in labelled steps."""
    return write_rows(
        path,
        (
            {"prompt": item.prompt.to_json(), "steps": item.steps, "labels": item.labels}
            for item in items
        ),
    )


def read_steps(path: Path) -> list[WorkedAnswer]:
    """The inverse of `write_steps`."""

    def item(row: Row, where: str) -> WorkedAnswer:
        prompt = conversation_from_json(row["prompt"], where)
        return WorkedAnswer(prompt=prompt, steps=tuple(row["steps"]), labels=tuple(row["labels"]))

    return _read(path, item)


def _read(path: Path, parse: Callable[[Row, str], T]) -> list[T]:
    items = []
    for number, row in enumerate(read_rows(path), start=1):
        where = f"{path}:{number}"
        try:
            items.append(parse(row, where))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: not a row of this kind ({error!r})") from error
    return items


def _problem_row(item: Problem) -> dict[str, Any]:
    return {
        "prompt": item.prompt.to_json(),
        "task": item.task,
        "answer": item.answer,
        "meta": item.meta,
    }


def _problem(row: Row, where: str) -> Problem:
    return Problem(
        prompt=conversation_from_json(row["prompt"], where),
        task=row["task"],
        answer=row["answer"],
        meta=row["meta"],
    )
