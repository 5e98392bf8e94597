"""Runs inside the box of untrusted code: loads it, and answers calls of its functions.

Nothing here needs to be trusted. The code shares this process and may replace all of it; what it
can gain by that is to send other plain data, which it could simply have returned.
"""

import operator
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from burnish.sandbox.wire import CannotTravel, Named, receive, send, write

CALLS, ANSWERS = 3, 4
SOURCE = "candidate.py"
_MODULE = "candidate"

Reply = tuple[object, ...]
Args = tuple[object, ...]
Kwargs = dict[str, object]


def _items(value: object) -> object:
    return iter(value)  # type: ignore[call-overload]


_OPERATIONS: Mapping[str, Callable[..., object]] = {
    "__iter__": _items,
    "__len__": len,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__hash__": hash,
    "__int__": int,
    "__float__": float,
    "__abs__": abs,
    "__neg__": operator.neg,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__contains__": operator.contains,
    "__eq__": operator.eq,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
    "__add__": operator.add,
    "__sub__": operator.sub,
    "__mul__": operator.mul,
    "__rmul__": lambda own, other: other * own,
    "__truediv__": operator.truediv,
}
"""By the names that stand-ins ask for (`stand_ins`)."""


def main() -> None:
    """Answers requests, each the name of a method of `_Code` and its arguments, until none come."""
    code = _Code()
    while True:
        try:
            request = receive(CALLS, code.object_of)
        except EOFError:
            return
        assert isinstance(request, tuple)
        answer = getattr(code, str(request[0]))(*request[1:])
        send(ANSWERS, write(answer))


class _Code:
    """The code, loaded, and those objects it has made of which the tests have the numbers."""

    def __init__(self) -> None:
        self._module = ModuleType(_MODULE)
        sys.modules[_MODULE] = self._module
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}
        self._name_of: Callable[[object], Named | None] | None = None

    def load(self, objects: bool) -> Reply:
        """objects: the tests take objects of the code's own classes, by number."""
        self._name_of = self._named if objects else None
        try:
            with open(SOURCE, encoding="utf-8", errors="surrogatepass") as file:
                exec(compile(file.read(), SOURCE, "exec"), self._module.__dict__)
        except BaseException as error:  # SystemExit as well: it must not look like an end of ours
            return _raised(error)
        return ("loaded",)

    def call(self, name: str, args: Args, kwargs: Kwargs) -> Reply:
        """What a function returns."""
        if name not in self._module.__dict__:
            return ("missing", name)
        return self._answer(self._module.__dict__[name], args, kwargs)

    def make(self, name: str, args: Args, kwargs: Kwargs) -> Reply:
        """An object of a class; one of the code's own is named even where it is a list as well."""
        if name not in self._module.__dict__:
            return ("missing", name)

        def made(*args: object, **kwargs: object) -> object:
            value = self._module.__dict__[name](*args, **kwargs)
            return self._named(value) if type(value).__module__ == _MODULE else value

        return self._answer(made, args, kwargs)

    def attribute(self, of: object, name: str) -> Reply:
        """Its value, or that it is a method."""
        if isinstance(of, str) and of not in self._module.__dict__:
            return ("missing", of)
        try:
            value = getattr(self._target(of), name)
        except BaseException as error:
            return _raised(error)
        if callable(value) and type(value).__module__ != _MODULE:
            return ("method",)
        return self._answer(lambda: value, (), {})

    def set(self, of: object, name: str, value: object) -> Reply:
        """Gives an attribute another value."""
        return self._answer(lambda: setattr(self._target(of), name, value), (), {})

    def method(self, of: object, name: str, args: Args, kwargs: Kwargs) -> Reply:
        """What a method returns, or an operation of Python's on the object."""
        operation = _OPERATIONS.get(name)
        if operation is not None:
            return self._answer(lambda *a: operation(self._target(of), *a), args, kwargs)
        return self._answer(lambda *a, **k: getattr(self._target(of), name)(*a, **k), args, kwargs)

    def object_of(self, number: int, _kind: str) -> object:
        """The object of that number."""
        return self._objects[number]

    def _target(self, of: object) -> object:
        """An object, or a class given by its name."""
        return self._module.__dict__[of] if isinstance(of, str) else of

    def _named(self, value: object) -> Named | None:
        """None for functions, classes and modules: tests do not look into those."""
        if isinstance(value, type | ModuleType) or type(value).__name__ in _FUNCTIONS:
            return None
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)  # kept, so that its id stays its own
        return Named(number, type(value).__name__)

    def _answer(self, function: Callable[..., object], args: Args, kwargs: Kwargs) -> Reply:
        """What was returned, and those arguments that were changed, by their place."""
        try:
            before = [self._write(a) if isinstance(a, list | dict | set) else b"" for a in args]
            returned = self._write(function(*args, **kwargs))
            after = {i: self._write(args[i]) for i, was in enumerate(before) if was}
            changed = {i: data for i, data in after.items() if data != before[i]}
        except CannotTravel as error:
            return ("unsendable", str(error))
        except BaseException as error:
            return _raised(error)
        return ("returned", returned, changed)

    def _write(self, value: object) -> bytes:
        return write(value, self._name_of)


_FUNCTIONS = frozenset(
    {"function", "builtin_function_or_method", "method", "generator", "coroutine", "NoneType"}
)


def _raised(error: BaseException) -> Reply:
    """The names of the exception's classes, the nearest first, and its text."""
    names = [kind.__name__ for kind in type(error).__mro__]
    try:
        text = str(error)[:500]
    except Exception as unsayable:  # the code's own __str__: what was raised still counts
        text = f"(its text cannot be had: {type(unsayable).__name__})"
    return ("raised", names, text)
