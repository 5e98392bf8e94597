"""Plain data arrives as it was sent, behaviour does not travel, and no bytes do harm."""

import contextlib
import math
import random
from collections import Counter, OrderedDict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction

import pytest

from burnish.sandbox import wire
from burnish.sandbox.wire import CannotTravel, Malformed, read, write

VALUES = (
    None,
    True,
    0,
    -1,
    10**5000,
    1.5,
    -0.0,
    math.inf,
    1 + 2j,
    complex(math.inf, -0.0),
    "",
    "é\ud800\0",
    b"\xff\0",
    bytearray(b"x"),
    [1, [2.0, "3"]],
    (1,),
    (),
    {1, 2},
    frozenset({(1, 2)}),
    {"a": {1: None}, (1, 2): []},
    deque([1, 2]),
    range(3, 30, 4),
    Decimal("1.10"),
    Fraction(2, 3),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_data_arrives_as_it_was(value: object) -> None:
    found = read(write(value))
    assert found == value and type(found) is type(value)
    assert isinstance(value, int) or repr(found) == repr(value)


def test_not_a_number_arrives_as_one() -> None:
    found = read(write([math.nan]))
    assert isinstance(found, list) and math.isnan(found[0])


def test_iterators_and_views_arrive_as_such() -> None:
    found = read(write(x * x for x in range(3)))
    assert list(found) == [0, 1, 4] and not isinstance(found, list)  # type: ignore[call-overload]
    assert read(write({"a": 1, "b": 2}.keys())) == {"a", "b"}
    assert list(read(write({"a": 1, "b": 2}.values()))) == [1, 2]  # type: ignore[call-overload]
    assert sorted(read(write({"a": 1}.items()))) == [("a", 1)]  # type: ignore[call-overload]


def test_subclasses_arrive_as_their_base() -> None:
    class Equal(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class Text(str):
        def __str__(self) -> str:
            return "another"

    point = namedtuple("point", "x y")
    for value, plain in (
        (Equal(3), 3),
        (point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
    ):
        assert read(write(value)) == plain and type(read(write(value))) is type(plain)
    assert read(write(Equal(3))) != 4
    assert read(write(Text("this"))) == "this"


def test_objects_functions_and_endless_things_do_not_travel() -> None:
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    cycle: list[object] = []
    cycle.append(cycle)
    for value in (object(), len, int, deep, cycle, iter(int, 1), "x" * (wire.MOST_BYTES + 1)):
        with pytest.raises(CannotTravel):
            write(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?",
        b"i12",
        b"izz;",
        b"s5;abc",
        b"s-1;",
        b"l999999999;",
        b"l2;n",
        b"m1;l0;n",
        b"e1;l0;",
        b"nn",
        b"l1;" * 5000,
        b"d1;extra",
        b"rnnn",
        b"s1;\xff",
        b"F3;1/0",
        b"l99999999999999999999;",
    ],
)
def test_bytes_that_nobody_wrote_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


def test_changed_bytes_give_a_value_or_are_malformed() -> None:
    random.seed(0)
    plain = write([1, "two", {"three": (4.0, b"5")}, {6}])
    for _ in range(3000):
        data = bytearray(plain)
        for _ in range(random.randint(1, 3)):
            data[random.randrange(len(data))] = random.randrange(256)
        with contextlib.suppress(Malformed):
            write(read(bytes(data)))
