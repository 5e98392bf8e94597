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


class Named:
    """A value that stays where it is; the other side has its number and the name of its class."""

    __slots__ = ("kind", "number")

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind = number, kind


NameOf = Callable[[object], Named | None]
"""Of a value that is no plain data; None: it cannot be named either."""
ObjectOf = Callable[[int, str], object]
"""What a number and a class name stand for, to the reader. Raises: LookupError, ValueError."""


class Malformed(Exception):
    """Bytes that no writer of this format writes."""


class CannotTravel(Exception):
    """A value that is not plain data."""


class TooLarge(CannotTravel):
    """Plain data, but too much of it, or too deep."""


def write(value: object, name_of: NameOf | None = None) -> bytes:
    """The value as bytes. `name_of` names what is no plain data and stays where it is.

    Raises:
        CannotTravel: names the type of what is neither.
    """
    parts: list[bytes] = []
    _write(value, parts, 0, name_of)
    data = b"".join(parts)
    if len(data) > MOST_BYTES:
        raise TooLarge(f"a value of more than {MOST_BYTES} bytes")
    return data


def read(data: bytes, object_of: ObjectOf | None = None) -> object:
    """The value. Raises: Malformed, also for what is named where nothing may be."""
    try:
        value, end = _read(data, 0, 0, object_of)
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


def receive(descriptor: int, object_of: ObjectOf | None = None) -> object:
    """Reads one message. Raises: EOFError where the writer is gone; Malformed."""
    size = int.from_bytes(_exactly(descriptor, 8), "big")
    if size > MOST_BYTES:
        raise Malformed(f"a message of {size} bytes; at most {MOST_BYTES}")
    return read(_exactly(descriptor, size), object_of)


def _exactly(descriptor: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 16))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(value: object, parts: list[bytes], depth: int, name_of: NameOf | None) -> None:
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
            _write(key, parts, depth + 1, name_of)
            _write(item, parts, depth + 1, name_of)
    elif isinstance(value, range):
        parts.append(b"r")
        for number in (value.start, value.stop, value.step):
            _write(number, parts, depth + 1, None)
    elif isinstance(value, Decimal):
        _text("D", str(value), parts)
    elif isinstance(value, Fraction):
        _text("F", f"{value.numerator}/{value.denominator}", parts)
    else:
        _write_items(value, parts, depth, name_of)


def _write_items(value: object, parts: list[bytes], depth: int, name_of: NameOf | None) -> None:
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
        named = value if isinstance(value, Named) else name_of(value) if name_of else None
        if named is None:
            raise CannotTravel(f"a value of type {type(value).__name__}")
        _text("o", f"{named.number} {named.kind}", parts)
        return
    parts.append(b"%s%d;" % (tag.encode(), len(items)))
    for item in items:
        _write(item, parts, depth + 1, name_of)


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


def _read(data: bytes, at: int, depth: int, object_of: ObjectOf | None) -> tuple[object, int]:
    """The value that starts at `at`, and where the next one does."""
    if depth > DEEPEST + 1:
        raise Malformed(f"nested more than {DEEPEST} deep")
    tag, at = data[at : at + 1], at + 1
    if tag in _SIMPLE:
        return _SIMPLE[tag], at
    if tag == b"r":
        numbers: list[int] = []
        for _ in range(3):
            number, at = _read(data, at, depth + 1, None)
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
    if tag == b"o" and object_of is not None:
        number_text, _, kind = data[at : at + size].decode("utf-8").partition(" ")
        return object_of(int(number_text), kind), at + size
    if tag == b"m":
        pairs: dict[object, object] = {}
        for _ in range(size):
            key, at = _read(data, at, depth + 1, object_of)
            pairs[key], at = _read(data, at, depth + 1, object_of)
        return pairs, at
    items = []
    for _ in range(size):
        item, at = _read(data, at, depth + 1, object_of)
        items.append(item)
    return _LISTS[tag](items), at
