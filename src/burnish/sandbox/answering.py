"""Runs inside the box of untrusted code: loads it, and answers calls of its functions.

Nothing here needs to be trusted. The code shares this process and may replace all of it; what it
can gain by that is to send other plain data, which it could simply have returned.
"""

import sys
from types import ModuleType

from burnish.sandbox.wire import CannotTravel, receive, send, write

CALLS, ANSWERS = 3, 4
SOURCE = "candidate.py"


def main() -> None:
    """Answers `("load",)` and `("call", name, args, kwargs)` until nobody asks."""
    module = ModuleType("candidate")
    sys.modules["candidate"] = module
    while True:
        try:
            request = receive(CALLS)
        except EOFError:
            return
        assert isinstance(request, tuple)
        answer = _load(module) if request[0] == "load" else _call(module, *request[1:])
        try:
            data = write(answer)
        except CannotTravel as error:
            data = write(("unsendable", str(error)))
        send(ANSWERS, data)


def _load(module: ModuleType) -> tuple[object, ...]:
    try:
        with open(SOURCE, encoding="utf-8", errors="surrogatepass") as file:
            exec(compile(file.read(), SOURCE, "exec"), module.__dict__)
    except BaseException as error:  # SystemExit as well: it must not look like an end of our own
        return _raised(error)
    return ("loaded",)


def _call(
    module: ModuleType, name: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[object, ...]:
    """What the function returned, and those arguments that it changed, by their place."""
    if name not in module.__dict__:
        return ("missing", name)
    before = [write(arg) if isinstance(arg, list | dict | set) else b"" for arg in args]
    try:
        value = module.__dict__[name](*args, **kwargs)
        returned = write(value)
        changed = {i: args[i] for i, was in enumerate(before) if was and write(args[i]) != was}
    except CannotTravel as error:
        return ("unsendable", str(error))
    except BaseException as error:
        return _raised(error)
    return ("returned", returned, changed)


def _raised(error: BaseException) -> tuple[object, ...]:
    """The names of the exception's classes, the nearest first, and its text."""
    names = [kind.__name__ for kind in type(error).__mro__]
    try:
        text = str(error)[:500]
    except Exception as unsayable:  # the code's own __str__: what was raised still counts
        text = f"(its text cannot be had: {type(unsayable).__name__})"
    return ("raised", names, text)
