"""Judges a function by tests that the function cannot see, touch or answer for.

Two boxes: the code runs in one, the tests in the other. The tests' calls go over a pipe to the code
and plain data comes back (`wire`); the tests compare, and only their box can write the verdict. So
the code cannot read the tests from memory, frames or files, replace `assert`, end the tests early,
or return an object that equals whatever it is compared with.

What it asks of problems: arguments and results are plain data (numbers, text, bytes, lists, tuples,
sets, dicts, ranges, iterators that end, None). A test that passes a function cannot be judged.

Where the tests use classes of the code's, its objects stay in its box, and the tests hold stand-ins
(`stand_ins`). Which names are classes, tests and prompt say, never the code: those with a capital
first, unless the tests only compare what they return (`Find_Max([1]) == 1`), and those that the
prompt defines so. Where there are none, code that returns an object of its own class fails, and the
verdict says so.
"""

import ast
import builtins
import os
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from burnish.errors import DataError
from burnish.sandbox import judging, wire
from burnish.sandbox.answering import SOURCE
from burnish.sandbox.job import Job, Limits, Ran
from burnish.sandbox.running import start, wait

_AROUND = frozenset({"set", "sorted", "list", "tuple"})
_SPARE_S = 0.5
"""How much longer than the code its tests may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenTests:
    """What the tests' box gets."""

    source: str
    """Python: asserts that call functions by name, or a function `check` of one argument."""
    prompt_code: str = ""
    """Code of the problem itself, run before the tests: its other functions are theirs to call."""
    entry_point: str = ""
    """The function that `check` is called with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The tests' verdict; `passed` None: they cannot judge any code."""

    passed: bool | None
    why: str = ""


def judge(code: str, tests: HiddenTests, limits: Limits) -> Judged:
    """Runs tests against code, each in a box of its own; never raises for what the code does.

    Raises:
        DataError: the tests are not Python, or call nothing.
        SandboxError: boxes cannot be had here.
    """
    task = wire.write(_task(tests))
    calls_out, calls_in = os.pipe()
    answers_out, answers_in = os.pipe()
    # The tests' verdict and what surrounds it are small, whatever the code may print.
    own = replace(limits, wall_s=limits.wall_s + _SPARE_S, output_bytes=1 << 20)
    tried = Job(
        program="from burnish.sandbox.answering import main; main()",
        files={**_package("answering"), SOURCE: code},
        limits=limits,
    )
    judging_job = Job(
        program="from burnish.sandbox.judging import main; main()",
        files={**_package("judging", "stand_ins", "unit_tests"), judging.TASK: task},
        limits=own,
    )
    boxes = [start(tried, connect=[calls_out, answers_in])]
    try:
        boxes.append(start(judging_job, connect=[answers_out, calls_in]))
        of, by = wait(boxes, leader=boxes[1])
    finally:
        for box in boxes:
            box.close()
    return _verdict(by, of, limits)


def _verdict(by: Ran, of: Ran, limits: Limits) -> Judged:
    """What the tests said, unless the code went over a limit, which explains what they said."""
    if of.timed_out or by.timed_out:
        return Judged(passed=False, why=f"ran past {limits.wall_s:g} s")
    if of.out_of_memory:
        return Judged(passed=False, why=f"used more than {limits.memory_mb} MiB")
    if of.output_capped:
        return Judged(passed=False, why=f"printed more than {limits.output_bytes} bytes")
    try:
        said = wire.read(by.stdout[8:])
    except wire.Malformed:
        said = None
    match said:
        case (judging.PASSED, str()):
            return Judged(passed=True)
        case (judging.FAILED, str(why)):
            return Judged(passed=False, why=why)
        case (judging.UNJUDGED, str(why)):
            return Judged(passed=None, why=why)
    return Judged(passed=False, why="the tests ended without a verdict")


@lru_cache(maxsize=4096)
def _task(tests: HiddenTests) -> dict[str, object]:
    try:
        tree = ast.parse(tests.source)
        prompt = ast.parse(tests.prompt_code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"the problem's tests are not Python ({error})") from error
    known = _bound(prompt)
    names = {node for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    bound = _bound(tree)
    functions = used - bound - known - set(dir(builtins))
    if tests.entry_point:
        functions.add(tests.entry_point)
    exceptions = functions & _caught(tree) - {tests.entry_point}
    capitals = {name for name in functions if name[:1].isupper()}
    classes = (capitals - _compared(tree, capitals)) | (functions & _classes(prompt))
    checks = "check" in bound and not _calls_check(tree)
    if checks and not tests.entry_point:
        raise DataError("the problem's tests define `check`, but no entry_point to call it with")
    return {
        "tests": tests.source,
        "prompt_code": tests.prompt_code,
        "functions": sorted(functions - classes - exceptions),
        "classes": sorted(classes - exceptions),
        "exceptions": sorted(exceptions),
        "check": tests.entry_point if checks else "",
    }


def _bound(tree: ast.Module) -> set[str]:
    """Names that the code gives a value anywhere: coarse, since tests are short."""
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add((other or name).partition(".")[0])
    return bound


def _classes(tree: ast.Module) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _compared(tree: ast.Module, names: set[str]) -> set[str]:
    """Those of the names that tests only call to compare what comes back with a value of their own.

    Such as `Find_Max([1, 2]) == 2`: functions, however they are spelled. `P(1) == P(1)` are none.
    """
    calls: dict[str, int] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [_called(side) for side in (node.left, *node.comparators)]
        if not all(side in names for side in sides):
            for name in filter(None, sides):
                calls[name] = calls.get(name, 0) + 1
    uses = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {name for name in names if calls.get(name, 0) == uses.count(name)}


def _called(side: ast.expr) -> str:
    """The function of a call, through `set(...)`, `sorted(...)` and the like; "" for all else."""
    if not (isinstance(side, ast.Call) and isinstance(side.func, ast.Name)):
        return ""
    if side.func.id in _AROUND and len(side.args) == 1:
        return _called(side.args[0])
    return side.func.id


def _caught(tree: ast.Module) -> set[str]:
    """Names that tests expect to be raised: in `except`, or given to what is called `raises`."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            found.append(node.type)
        if isinstance(node, ast.Call) and node.args and "raises" in ast.unparse(node.func).lower():
            found.append(node.args[0])
    return {n.id for node in found for n in ast.walk(node) if isinstance(n, ast.Name)}


def _calls_check(tree: ast.Module) -> bool:
    calls = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
    return any(isinstance(call.func, ast.Name) and call.func.id == "check" for call in calls)


@cache
def _package(*modules: str) -> dict[str, str]:
    """The files that the program in the box imports: this package's, but nothing else of it."""
    here = Path(__file__).parent
    empty = {"burnish/__init__.py": "", "burnish/sandbox/__init__.py": ""}
    found = {
        f"burnish/sandbox/{name}.py": (here / f"{name}.py").read_text(encoding="utf-8")
        for name in (*modules, "wire")
    }
    return empty | found
