"""Runs inside a box of its own, away from the code that it judges: runs tests against that code.

The tests call functions that are stand-ins: each sends its arguments to the other box and rebuilds
the plain data that comes back. Where the tests use classes of the code's, its objects stay there,
and the tests hold stand-ins for them (`stand_ins`). Every comparison with a value of the tests
happens here, on this side's own values.

Tests come from data sets, so they are boxed too; the verdict goes out by what was standard output
when they started, which is closed to them.
"""

import builtins
import os
from collections.abc import Callable
from typing import NoReturn

from burnish.sandbox.stand_ins import Method, StandIn, number_of, stand_in, stand_in_class
from burnish.sandbox.unit_tests import run_unit_tests, without_running
from burnish.sandbox.wire import (
    CannotTravel,
    Malformed,
    Named,
    TooLarge,
    read,
    receive,
    send,
    write,
)

ANSWERS, CALLS, VERDICT = 3, 4, 5
PASSED, FAILED, UNJUDGED = "passed", "failed", "unjudged"
TASK = "task"
"""The file with the task: a dict of tests, prompt_code, functions, classes and exceptions (names of
the code's that the tests use), check (the name of what `check` is called with, or "")."""
_TESTS = "tests.py"


class _Over(BaseException):
    """Ends the tests, whatever they catch."""


class _Judge:
    """The conversation with the other box."""

    def __init__(self, classes: list[str], exceptions: list[str]) -> None:
        self.calls = 0
        self.verdict: tuple[str, str] | None = None
        self.classes = {name: stand_in_class(name, self.ask) for name in classes}
        self.exceptions: dict[str, type[Exception]] = {
            name: type(name, (Exception,), {}) for name in exceptions
        }
        self._making = False

    def load(self) -> None:
        answer = self._ask(("load", bool(self.classes)))
        if answer[0] == "raised":
            self.end(FAILED, f"the code fails when loaded: {answer[1][0]}: {answer[2]}")

    def function(self, name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            return self.ask("call", name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    def end(self, status: str, why: str) -> NoReturn:
        self.verdict = self.verdict or (status, why)
        raise _Over

    def ask(self, what: str, *given: object) -> object:
        """What the code's answer is, or what it raised; `given` names what is asked, first."""
        self.calls += 1
        name = next((part for part in given[:2] if isinstance(part, str)), "")
        self._making = what == "make"
        try:
            answer = self._ask((what, *given))
        except TooLarge as error:  # grown from what the code returned: its own fault
            self.end(FAILED, f"the tests would give {name} {error}")
        except CannotTravel as error:
            self.end(UNJUDGED, f"the tests give {name} {error}; only plain data can be given")
        if answer[0] == "raised":
            raise self._exception(answer[1], str(answer[2]))
        if answer[0] == "missing":
            self.end(FAILED, f"the code defines no {name}")
        if answer[0] == "unsendable":
            self.end(FAILED, f"{name} returned {answer[1]}; only plain data can be judged")
        if answer[0] == "method":
            return Method()
        if answer[0] != "returned":
            self.end(FAILED, "the program's answer is to another question")
        args = next((part for part in given if isinstance(part, tuple)), ())
        for place, new in answer[2].items():
            _put(args[place], new)
        return answer[1]

    def _ask(self, request: tuple[object, ...]) -> tuple:  # type: ignore[type-arg]
        if self.verdict is not None:
            raise _Over
        try:
            send(CALLS, write(request, _named))
            return _checked(receive(ANSWERS), self._read)
        except (EOFError, BrokenPipeError):
            self.end(FAILED, "the program ended before it answered")
        except Malformed as error:
            self.end(FAILED, f"the program's answer is malformed ({error})")

    def _read(self, data: bytes) -> object:
        return read(data, self._object_of if self.classes else None)

    def _object_of(self, number: int, kind: str) -> object:
        return stand_in(self.classes.get(kind, StandIn), self.ask, number, made=self._making)

    def _exception(self, names: list[str], text: str) -> Exception:
        """The nearest that tests name or that is built in, so that they can catch it.

        StopIteration arrives as RuntimeError: it would end a `map` over the tests' cases early.
        """
        for name in names:
            if name in self.exceptions:
                return self.exceptions[name](text)
            kind = builtins.__dict__.get(name)
            if isinstance(kind, type) and issubclass(kind, BaseException):
                if not issubclass(kind, Exception):
                    self.end(FAILED, f"the code ended itself: {names[0]}")
                if issubclass(kind, StopIteration | StopAsyncIteration):
                    return RuntimeError(f"{name}: {text}")
                try:
                    return kind(text)
                except TypeError:  # such as UnicodeDecodeError, which wants more than a text
                    return Exception(f"{name}: {text}")
        return Exception(text)


def main() -> None:
    """Reads the task, runs the tests and writes (status, why)."""
    os.dup2(1, VERDICT)
    quiet = os.open("/dev/null", os.O_WRONLY)
    os.dup2(quiet, 1)
    with open(TASK, "rb") as file:
        task = read(file.read())
    os.unlink(TASK)
    assert isinstance(task, dict)
    judge = _Judge(task["classes"], task["exceptions"])
    try:
        judge.load()
        _run(judge, task)
        status, why = PASSED, ""
    except _Over:
        status, why = FAILED, ""
    except Exception as error:
        status, why = FAILED, _where(error, task["tests"])
    except BaseException as error:  # SystemExit of the tests themselves
        status, why = UNJUDGED, f"the tests end with {type(error).__name__}"
    if judge.verdict is not None:
        status, why = judge.verdict
    send(VERDICT, write((status, why[:500])))


def _run(judge: _Judge, task: dict[str, object]) -> None:
    names: dict[str, object] = {"__name__": "tests"}
    try:
        exec(compile(str(task["prompt_code"]), "prompt.py", "exec"), names)
        code = compile(str(task["tests"]), _TESTS, "exec")
    except Exception as error:
        judge.end(UNJUDGED, f"the problem's own code fails: {type(error).__name__}: {error}")
    functions = task["functions"]
    assert isinstance(functions, list)
    own: dict[str, object] = {name: judge.function(name) for name in functions}
    own.update(judge.classes)
    own.update(judge.exceptions)
    names.update(own)
    try:
        with without_running(str(task["tests"])):
            exec(code, names)
    except ModuleNotFoundError as error:
        if error.name is None:  # raised by the code, and rebuilt here
            raise
        judge.end(UNJUDGED, f"the tests import {error.name}, which no box has")
    if task["check"]:
        check = names["check"]
        assert callable(check)
        check(own[str(task["check"])])
    run_unit_tests(names)
    if judge.calls == 0:
        judge.end(UNJUDGED, "the tests call none of the code's functions")


def _named(value: object) -> Named | None:
    return Named(number_of(value), "") if isinstance(value, StandIn) else None


def _checked(answer: object, own_read: Callable[[bytes], object]) -> tuple:  # type: ignore[type-arg]
    """The answer, where it has one of the shapes that `answering` gives it."""
    match answer:
        case ("loaded" | "method" as what,):
            return (what,)
        case ("missing" | "unsendable" as what, str(text)):
            return what, text
        case ("raised", list(names), str(text)) if names and all(type(n) is str for n in names):
            return "raised", names, text
        case ("returned", bytes(value), dict(changed)) if all(
            type(i) is int and type(data) is bytes for i, data in changed.items()
        ):
            return "returned", own_read(value), {i: own_read(d) for i, d in changed.items()}
    raise Malformed("of no known shape")


def _put(argument: object, new: object) -> None:
    """Changes an argument in place, as the function changed its copy."""
    if isinstance(argument, list) and isinstance(new, list):
        argument[:] = new
    elif isinstance(argument, dict | set) and type(new) is type(argument):
        argument.clear()
        argument.update(new)


def _where(error: Exception, tests: object) -> str:
    lines = str(tests).splitlines()
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    line, step = 0, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == _TESTS:
            line = step.tb_lineno
        step = step.tb_next
    return f"{said} in `{lines[line - 1].strip()[:200]}`" if 0 < line <= len(lines) else said
