"""Runs inside the tests' box: what tests hold in place of the code's classes and objects.

An object of the code's stays in the code's box. Here is a stand-in, which asks there for what the
tests want of it: a method by name, an attribute, its length, its items. What comes back is plain
data or another stand-in.

What a stand-in never does is to ask the code whether it equals a value of the tests. Equality,
order, sums and differences are asked of two of the code's objects only; of an object and plain data
they are False, or TypeError, as for any two values that know nothing of each other. Otherwise a
class that equals everything would pass, and one that is asked would learn what is expected. `in` is
asked of objects that the tests made themselves, and looked up among the items of others.
"""

from collections.abc import Callable, Iterator
from typing import Any

Ask = Callable[..., object]
"""`ask(what, *args)`: what the code's box answers, checked and rebuilt."""


class Method:
    """What the answer to a question for an attribute is, where that is to be called."""


class StandIn:
    """An object of the code's."""

    __slots__ = ("_box_ask", "_box_made", "_box_number")
    _box_ask: Ask
    _box_made: bool
    _box_number: int

    def __init__(self, ask: Ask, number: int, *, made: bool) -> None:
        """made: the tests called its class by name."""
        object.__setattr__(self, "_box_ask", ask)
        object.__setattr__(self, "_box_number", number)
        object.__setattr__(self, "_box_made", made)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return attribute(self._box_ask, self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._box_ask("set", self, name, value)

    def __hash__(self) -> int:
        return _number(_operation(self, "__hash__"))

    def __len__(self) -> int:
        return _number(_operation(self, "__len__"))

    def __bool__(self) -> bool:
        return _truth(_operation(self, "__bool__"))

    def __str__(self) -> str:
        return _text(_operation(self, "__str__"))

    def __repr__(self) -> str:
        return _text(_operation(self, "__repr__"))

    def __int__(self) -> int:
        return _number(_operation(self, "__int__"))

    def __float__(self) -> float:
        return _real(_operation(self, "__float__"))

    def __iter__(self) -> Iterator[Any]:
        return iter(_operation(self, "__iter__"))  # type: ignore[call-overload,no-any-return]

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self._box_ask("method", self, "__call__", args, kwargs)

    def __getitem__(self, key: object) -> object:
        return _operation(self, "__getitem__", key)

    def __setitem__(self, key: object, value: object) -> None:
        _operation(self, "__setitem__", key, value)

    def __delitem__(self, key: object) -> None:
        _operation(self, "__delitem__", key)

    def __contains__(self, item: object) -> bool:
        if self._box_made:
            return _truth(_operation(self, "__contains__", item))
        return any(found is item or found == item for found in self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StandIn):
            return NotImplemented
        if other._box_number == self._box_number:
            return True
        return _truth(_operation(self, "__eq__", other))

    def __lt__(self, other: object) -> Any:
        return _between(self, "__lt__", other)

    def __le__(self, other: object) -> Any:
        return _between(self, "__le__", other)

    def __gt__(self, other: object) -> Any:
        return _between(self, "__gt__", other)

    def __ge__(self, other: object) -> Any:
        return _between(self, "__ge__", other)

    def __add__(self, other: object) -> Any:
        return _between(self, "__add__", other)

    def __sub__(self, other: object) -> Any:
        return _between(self, "__sub__", other)

    def __mul__(self, other: object) -> object:
        return _operation(self, "__mul__", other)

    def __rmul__(self, other: object) -> object:
        return _operation(self, "__rmul__", other)

    def __truediv__(self, other: object) -> Any:
        return _between(self, "__truediv__", other)

    def __neg__(self) -> object:
        return _operation(self, "__neg__")

    def __abs__(self) -> object:
        return _operation(self, "__abs__")


class _Class(type):
    """The type of stand-ins for classes: calling one makes an object in the code's box."""

    _box_asks: Ask

    def __call__(cls, *args: object, **kwargs: object) -> object:
        return cls._box_asks("make", cls.__name__, args, kwargs)

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return attribute(cls._box_asks, cls.__name__, name)


def stand_in_class(name: str, ask: Ask) -> type:
    """Stands for a class of the code's of that name, for `isinstance` too."""
    made = _Class(name, (StandIn,), {"__slots__": ()})
    made._box_asks = ask
    return made


def stand_in(kind: type, ask: Ask, number: int, *, made: bool) -> StandIn:
    """One of `kind`, which is `StandIn` or one of `stand_in_class`."""
    found: StandIn = object.__new__(kind)
    StandIn.__init__(found, ask, number, made=made)
    return found


def attribute(ask: Ask, of: object, name: str) -> object:
    """A value, or a function that calls the method."""
    value = ask("attribute", of, name)
    if not isinstance(value, Method):
        return value

    def method(*args: object, **kwargs: object) -> object:
        return ask("method", of, name, args, kwargs)

    method.__name__ = method.__qualname__ = name
    return method


def number_of(value: StandIn) -> int:
    """Of its object in the code's box."""
    return value._box_number


def _operation(value: StandIn, name: str, *args: object) -> object:
    return value._box_ask("method", value, name, args, {})


def _between(value: StandIn, name: str, other: object) -> object:
    return _operation(value, name, other) if isinstance(other, StandIn) else NotImplemented


def _number(value: object) -> int:
    if type(value) is not int:
        raise _unlike("a whole number", value)
    return value


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise _unlike("True or False", value)
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise _unlike("a text", value)
    return value


def _real(value: object) -> float:
    if type(value) is not float:
        raise _unlike("a float", value)
    return value


def _unlike(wanted: str, value: object) -> TypeError:
    """As Python says it of a `__len__` that is no number."""
    return TypeError(f"{wanted} expected, not {type(value).__name__}")
