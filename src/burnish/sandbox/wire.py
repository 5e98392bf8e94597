"""Plain data as bytes: what passes between a judge and the code that it judges.

Only values of built-in types travel, rebuilt from their content by whoever reads them, so that no
behaviour travels along: an object that claims to equal everything cannot. A value of a subclass
arrives as its base. Reading trusts nothing: whatever the bytes, it gives such a value or raises
`Malformed`. JSON would lose types; `marshal` and `pickle` are not safe to read.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice

MOST_BYTES = 16 << 20
MOST_ITEMS = 100_000
"""Of an iterator, which might never end."""
DEEPEST = 100
_SEQUENCES: tuple[tuple[str, type], ...] = (
    ("l", list),
    ("t", tuple),
    ("e", set),
    ("z", frozenset),
    ("q", deque),
)
_VIEWS: tuple[tuple[str, type], ...] = (
    ("k", type({}.keys())),
    ("v", type({}.values())),
    ("p", type({}.items())),
)


class Malformed(Exception):
    """Bytes that no writer of this format writes."""


class CannotTravel(Exception):
    """A value that is not plain data."""


class TooLarge(CannotTravel):
    """Plain data, but too much of it, or too deep."""


def write(value: object) -> bytes:
    """The value as bytes. Raises: CannotTravel, naming its type."""
    parts: list[bytes] = []
    _write(value, parts, 0)
    data = b"".join(parts)
    if len(data) > MOST_BYTES:
        raise TooLarge(f"a value of more than {MOST_BYTES} bytes")
    return data


def read(data: bytes) -> object:
    """The value. Raises: Malformed."""
    try:
        value, end = _read(data, 0, 0)
    except (ValueError, TypeError, LookupError, ArithmeticError, OverflowError) as error:
        raise Malformed(f"{type(error).__name__}: {error}"[:200]) from error
    if end != len(data):
        raise Malformed("bytes after the value")
    return value


def send(descriptor: int, data: bytes) -> None:
    """Writes one message: its length in 8 bytes, then a value as `write` gives it."""
    left = memoryview(len(data).to_bytes(8, "big") + data)
    while left:
        left = left[os.write(descriptor, left) :]


def receive(descriptor: int) -> object:
    """Reads one message. Raises: EOFError where the writer is gone; Malformed."""
    size = int.from_bytes(_exactly(descriptor, 8), "big")
    if size > MOST_BYTES:
        raise Malformed(f"a message of {size} bytes; at most {MOST_BYTES}")
    return read(_exactly(descriptor, size))


def _exactly(descriptor: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 16))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(value: object, parts: list[bytes], depth: int) -> None:
    if depth > DEEPEST:
        raise TooLarge(f"a value nested more than {DEEPEST} deep")
    if value is None or value is True or value is False:
        parts.append({None: b"n", True: b"y", False: b"f"}[value])
    elif isinstance(value, int):
        parts.append(b"i" + hex(int.__index__(value)).encode() + b";")
    elif isinstance(value, float):
        parts.append(b"d" + float.__repr__(value).encode() + b";")
    elif isinstance(value, complex):
        parts.append(b"c" + complex.__repr__(value).encode() + b";")
    elif isinstance(value, str):
        _text("s", str.__str__(value), parts)
    elif isinstance(value, bytes | bytearray):
        parts.append((b"b" if isinstance(value, bytes) else b"a") + b"%d;" % len(value))
        parts.append(bytes(value))
    elif isinstance(value, dict):
        parts.append(b"m%d;" % dict.__len__(value))
        for key, item in dict.items(value):
            _write(key, parts, depth + 1)
            _write(item, parts, depth + 1)
    elif isinstance(value, range):
        parts.append(b"r")
        for number in (value.start, value.stop, value.step):
            _write(number, parts, depth + 1)
    elif isinstance(value, Decimal):
        _text("D", str(value), parts)
    elif isinstance(value, Fraction):
        _text("F", f"{value.numerator}/{value.denominator}", parts)
    else:
        _write_items(value, parts, depth)


def _write_items(value: object, parts: list[bytes], depth: int) -> None:
    tag = next((tag for tag, kind in (*_SEQUENCES, *_VIEWS) if isinstance(value, kind)), "x")
    items: list[object] = []
    if tag != "x":
        assert isinstance(value, Iterable)
        items.extend(value)
    elif isinstance(value, Iterator):
        items.extend(islice(value, MOST_ITEMS + 1))
        if len(items) > MOST_ITEMS:
            raise TooLarge(f"an iterator of more than {MOST_ITEMS} items")
    else:
        raise CannotTravel(f"a value of type {type(value).__name__}")
    parts.append(b"%s%d;" % (tag.encode(), len(items)))
    for item in items:
        _write(item, parts, depth + 1)


def _text(tag: str, text: str, parts: list[bytes]) -> None:
    data = text.encode("utf-8", "surrogatepass")
    parts.append(b"%s%d;" % (tag.encode(), len(data)))
    parts.append(data)


def _pairs(items: list[object]) -> dict[object, object]:
    pairs: dict[object, object] = {}
    for item in items:
        if not isinstance(item, tuple) or len(item) != 2:
            raise ValueError("a pair that is none")
        pairs[item[0]] = item[1]
    return pairs


_SIMPLE = {b"n": None, b"y": True, b"f": False}
_NUMBERS: dict[bytes, Callable[[str], object]] = {
    b"i": lambda text: int(text, 16),
    b"d": float,
    b"c": complex,
}
_TEXTS: dict[bytes, Callable[[bytes], object]] = {
    b"s": lambda data: data.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"a": bytearray,
    b"D": lambda data: Decimal(data.decode("ascii")),
    b"F": lambda data: Fraction(data.decode("ascii")),
}
_LISTS: dict[bytes, Callable[[list[object]], object]] = {
    **{tag.encode(): kind for tag, kind in _SEQUENCES},
    b"k": lambda items: dict.fromkeys(items).keys(),
    b"v": lambda items: dict(enumerate(items)).values(),
    b"p": lambda items: _pairs(items).items(),
    b"x": iter,
}


def _read(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """The value that starts at `at`, and where the next one does."""
    if depth > DEEPEST + 1:
        raise Malformed(f"nested more than {DEEPEST} deep")
    tag, at = data[at : at + 1], at + 1
    if tag in _SIMPLE:
        return _SIMPLE[tag], at
    if tag == b"r":
        numbers: list[int] = []
        for _ in range(3):
            number, at = _read(data, at, depth + 1)
            numbers.append(int(number))  # type: ignore[call-overload]
        return range(*numbers), at
    end = data.index(b";", at)
    head, at = data[at:end].decode("ascii"), end + 1
    if tag in _NUMBERS:
        return _NUMBERS[tag](head), at
    size = int(head)
    if not 0 <= size <= len(data):
        raise Malformed(f"a size of {size}")
    if tag in _TEXTS:
        if at + size > len(data):
            raise Malformed("cut off")
        return _TEXTS[tag](data[at : at + size]), at + size
    if tag == b"m":
        pairs: dict[object, object] = {}
        for _ in range(size):
            key, at = _read(data, at, depth + 1)
            pairs[key], at = _read(data, at, depth + 1)
        return pairs, at
    items = []
    for _ in range(size):
        item, at = _read(data, at, depth + 1)
        items.append(item)
    return _LISTS[tag](items), at
