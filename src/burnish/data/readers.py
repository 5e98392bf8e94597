"""Rows of .jsonl, .jsonl.gz, .json, .csv and .parquet files, or of a hub's data set, each with its
place, so that every later complaint can name file and line.

Strict on purpose: what JSON parsers silently mend (NaN, a key given twice) would end in training
text. What the rows mean is the business of `burnish.data.schema`.
"""

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from burnish.errors import ConfigError, DataError
from burnish.types import Json

MAX_ROW_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100
_UTF8_BOM = b"\xef\xbb\xbf"
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row; `where` is path:line, or path:row number where a file has no lines."""

    where: str
    value: dict[str, Json]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a file holds. `num_bad` rows were passed over, the first for the reason `first_bad`."""

    rows: tuple[Row, ...]
    num_bad: int = 0
    first_bad: str = ""


def read_rows(path: str | Path, *, skip_bad: bool = False) -> Rows:
    """The rows of a file, or of a hub's data set given as `hub:owner/name[:split]`.

    With `skip_bad`, bad rows are counted instead of raising; what makes the rest of the file
    unreadable (a cut gzip stream, a broken .json list) raises all the same.

    Raises:
        DataError: the file or a row cannot be read; the message starts with path:line.
        ConfigError: no reader is known for the name, or the extra `hub` is not installed.
    """
    if isinstance(path, str) and path.startswith("hub:"):
        return _collect(_hub_rows(path), skip_bad)
    path = Path(path)
    readers: dict[str, Callable[[Path], Iterator[Row | DataError]]] = {
        ".jsonl": _jsonl_rows,
        ".jsonl.gz": _jsonl_rows,
        ".json": _json_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    for suffix, reader in readers.items():
        if path.name.lower().endswith(suffix):
            try:
                return _collect(reader(path), skip_bad)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(f"{path}: the gzip stream is damaged or cut ({error})") from error
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise ConfigError(f"{path}: unknown kind of file; use {', '.join(readers)}")


def parse_json(text: str, where: str) -> Json:
    """JSON, strictly: no NaN, no infinite number, no repeated key, at most 100 levels deep.

    Raises:
        DataError: it is not; the message starts with `where`.
    """
    # Counted before parsing, since it is the parser that deep nesting would overflow.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise DataError(f"{where}: nested more than {MAX_DEPTH} levels deep")
    try:
        value: Json = _decoder(where).decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise DataError(
            f"{where}: not valid JSON ({error.msg} at {line}column {error.colno})"
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error
    if "\\u" in text:
        _refuse_surrogates(value, where)
    return value


def _collect(found: Iterator[Row | DataError], skip_bad: bool) -> Rows:
    rows: list[Row] = []
    bad: list[str] = []
    for row in found:
        if isinstance(row, Row):
            rows.append(row)
        elif skip_bad:
            bad.append(str(row))
        else:
            raise row
    return Rows(rows=tuple(rows), num_bad=len(bad), first_bad=bad[0] if bad else "")


def _jsonl_rows(path: Path) -> Iterator[Row | DataError]:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        offset, number = 0, 0
        for raw in _lines(file):
            number += 1
            where = f"{path}:{number}"
            start, offset = offset, offset + len(raw)
            if number == 1:
                _refuse_utf16(raw, path)
            if len(raw) > MAX_ROW_BYTES:
                yield DataError(f"{where}: the row is larger than {MAX_ROW_BYTES} bytes; split it")
                continue
            try:
                text = _decoded(raw, where, start, first=number == 1)
                if text.strip():
                    yield _object(parse_json(text, where), where)
            except DataError as error:
                yield error


class _Bytes(Protocol):
    def readline(self, size: int, /) -> bytes: ...


def _lines(file: _Bytes) -> Iterator[bytes]:
    """Lines as they end in \\n; of a line over the cap only its first part is kept in memory."""
    while raw := file.readline(MAX_ROW_BYTES + 1):
        yield raw
        while len(raw) > MAX_ROW_BYTES and not raw.endswith(b"\n"):
            if not (raw := file.readline(MAX_ROW_BYTES + 1)):
                return


def _refuse_utf16(raw: bytes, path: Path) -> None:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}:1: byte 0 begins UTF-16 text; convert the file to UTF-8")


def _decoded(raw: bytes, where: str, start: int, *, first: bool) -> str:
    bom = len(_UTF8_BOM) if first and raw.startswith(_UTF8_BOM) else 0
    try:
        return raw[bom:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + bom + error.start
        raise DataError(
            f"{where}: byte {offset} (0x{raw[bom + error.start]:02x}) is not UTF-8; "
            "convert the file to UTF-8"
        ) from error


def _decoder(where: str) -> json.JSONDecoder:
    def pairs(items: list[tuple[str, Json]]) -> dict[str, Json]:
        value = dict(items)
        if len(value) < len(items):
            keys = [k for k, _ in items]
            twice = next(k for k in keys if keys.count(k) > 1)
            raise DataError(f"{where}: the key `{twice}` is given twice")
        return value

    def constant(name: str) -> Json:
        raise DataError(f"{where}: {name} is not JSON; use null or leave the field out")

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else float(str(constant(text)))

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_float=number)


def _depth(text: str) -> int:
    deepest = depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in "]}":
            depth -= 1
    return deepest


def _refuse_surrogates(value: Json, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(error.object[error.start])
        raise DataError(
            f"{where}: \\u{code:04x} is half of a surrogate pair and no text; "
            "it was cut inside a character"
        ) from error


def _object(value: Json, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a row must be a JSON object, not {_kind(value)}")
    return Row(where=where, value=value)


def _kind(value: Json) -> str:
    return "a list" if isinstance(value, list) else f"{json.dumps(value)[:40]}"


def _json_rows(path: Path) -> Iterator[Row | DataError]:
    raw = path.read_bytes()
    _refuse_utf16(raw, path)
    text = _decoded(raw, f"{path}:1", 0, first=True)
    values = parse_json(text, f"{path}:1")
    if not isinstance(values, list):
        raise DataError(f"{path}:1: must be a list of objects; for one object a line use .jsonl")
    for i, value in enumerate(values):
        try:
            yield _object(value, f"{path}:row {i + 1}")
        except DataError as error:
            yield error


def _csv_rows(path: Path) -> Iterator[Row | DataError]:
    raw = path.read_bytes()
    _refuse_utf16(raw, path)
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(
        io.StringIO(_decoded(raw, f"{path}:1", 0, first=True), newline=""), strict=True
    )
    names: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if not cells:
                continue
            if names is None:
                names = cells
                if len(set(names)) < len(names):
                    raise DataError(f"{where}: a column name is given twice")
            elif len(cells) != len(names):
                yield DataError(f"{where}: {len(cells)} cells, but the header has {len(names)}")
            else:
                yield Row(where=where, value=dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error


def _parquet_rows(path: Path) -> Iterator[Row | DataError]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for value in batch.to_pylist():
                number += 1
                yield _plain_row(value, f"{path}:row {number}")
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable parquet file ({reason})") from error


def _plain_row(value: dict[str, Json], where: str) -> Row | DataError:
    """Columns of a table may hold what JSON cannot: bytes, dates, NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        return DataError(f"{where}: holds what is not text, number, list or object ({error})")
    return Row(where=where, value=value)


def _hub_rows(name: str) -> Iterator[Row | DataError]:
    owner_name, _, split = name.removeprefix("hub:").partition(":")
    if owner_name.count("/") != 1 or not all(owner_name.split("/")):
        raise ConfigError(f"{name}: write hub:owner/name or hub:owner/name:split")
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"{name}: reading from a hub needs an extra; run: pip install 'burnish[hub]'"
        ) from error
    try:
        table = datasets.load_dataset(owner_name, split=split or "train")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name}: cannot be loaded ({reason})") from error
    for i, value in enumerate(table):
        yield _plain_row(dict(value), f"{name}:row {i + 1}")
