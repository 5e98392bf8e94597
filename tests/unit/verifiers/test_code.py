"""Code is judged by tests that it can neither see nor answer for."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from burnish import conformance
from burnish.errors import DataError
from burnish.sandbox.box import Limits
from burnish.sandbox.judge import HiddenTests
from burnish.types import Conversation, Json, Problem, Verdict
from burnish.verifiers.cases import Case
from burnish.verifiers.cases_code import MEMORY_MB, TIMEOUT_S, code_cases
from burnish.verifiers.code import extract_code, verify_function
from burnish.verifiers.verify import verify_problem
from tests.unit.sandbox.boxes import needs_boxes

pytestmark = needs_boxes
MIB = 1 << 20


def verdict(code: str, tests: str, *, entry_point: str = "", prompt_code: str = "") -> Verdict:
    found = HiddenTests(source=tests, entry_point=entry_point, prompt_code=prompt_code)
    return verify_function(code, found, limits=Limits(wall_s=3, memory_mb=256))


def problem(**meta: Json) -> Problem:
    return Problem(prompt=Conversation.of("write f"), task="code", meta=json.dumps(meta))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def below(pid: int) -> list[str]:
    """The command lines of all processes that descend from one, those that are ending apart."""
    parents: dict[int, list[int]] = {}
    lines: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
            line = (stat.parent / "cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        child = int(stat.parent.name)
        parents.setdefault(int(words[1]), []).append(child)
        if words[0] != "Z" and line:  # without a line it is past its end already
            lines[child] = line
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        todo += children
        found += [lines[child] for child in children if child in lines]
    return found


def test_every_case_gets_the_verdict_it_must() -> None:
    verify_problem(problem(tests="assert f() is None"), "def f(): pass")  # starts the server
    before_memory, before = resident(), len(below(os.getpid()))

    def judged(case: Case) -> tuple[str, bool | None, float]:
        began = time.monotonic()
        found = verify_problem(case.problem, case.completion)
        assert found.score == float(bool(found.passed))
        return case.kind, found.passed, time.monotonic() - began

    cases = code_cases(1, 0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(judged, cases))
    assert [kind for kind, passed, _ in found if passed != kind.startswith("right/")] == []
    # Two boxes of several starting at once: the code's own clock starts when it does.
    assert {kind: s for kind, _, s in found if s > TIMEOUT_S + 2} == {}
    assert resident() - before_memory < 60 * MIB
    assert len(below(os.getpid())) == before
    assert not Path("/usr/lib/burnish_was_here").exists()
    assert MEMORY_MB == 256 and len(cases) > 60


def test_a_case_alone_ends_within_a_second_of_its_limit() -> None:
    hostile = [c for c in code_cases(1, 0) if c.kind in ("attack/fork_bomb", "attack/thread_flood")]
    for case in hostile:
        began = time.monotonic()
        assert verify_problem(case.problem, case.completion).score == 0.0
        assert time.monotonic() - began < TIMEOUT_S + 1


def test_functions_are_called_by_the_names_that_asserts_use() -> None:
    tests = "import math\nassert area(2) == 4 * math.pi / 4 * 4\n"
    tests += "assert [twice(i) for i in (1, 2)] == [2, 4]"
    code = "import math\ndef area(r): return math.pi * r * r\ndef twice(x): return 2 * x"
    assert verdict(code, tests).passed
    assert verdict(code.replace("2 * x", "x"), tests).why.startswith("AssertionError in `assert [")
    assert verdict(code.replace("twice", "thrice"), tests).why == "the code defines no twice"


def test_data_of_every_plain_type_is_compared_where_the_tests_are() -> None:
    values = (
        "None", "True", "-7", "10**300", "1.5", "float('inf')", "1j", "'é'", "b'x'", "[1, [2]]",
        "(1, (2,))", "{1, 2}", "frozenset({1})", "{'a': {1: (2,)}}", "range(3)",
    )  # fmt: skip
    tests = "\n".join(
        f"assert same({v}) == {v}\nassert type(same({v})) is type({v})" for v in values
    )
    assert verdict("def same(x): return x", tests).passed
    assert not verdict("def same(x): return str(x)", tests).passed
    assert verdict(
        "def same(x): return (y for y in x)", "assert list(same('ab')) == ['a', 'b']"
    ).passed


def test_arguments_that_the_code_changes_change_for_the_tests() -> None:
    tests = "rows = [3, 1]\nf(rows, n=2)\nassert rows == [1, 3, 2]"
    assert verdict("def f(rows, n): rows.sort(); rows.append(n)", tests).passed
    assert not verdict("def f(rows, n): rows = sorted(rows) + [n]", tests).passed


def test_what_the_code_raises_can_be_tested() -> None:
    tests = "try:\n    f(-1)\nexcept LookupError as error:\n    assert 'low' in str(error)\n"
    tests += "else:\n    assert 0"
    own = "class Odd(KeyError): pass\ndef f(x): raise Odd('too low')"
    assert verdict(own, tests).passed
    assert verdict("def f(x): raise ValueError('low')", tests).why.startswith("ValueError: low")
    assert not verdict("def f(x): return 1", tests).passed


def test_an_exception_whose_text_cannot_be_had_is_still_raised() -> None:
    mute = "class Mute(ValueError):\n    def __str__(self): raise OSError\ndef f(): raise Mute"
    tests = "try:\n    f()\nexcept ValueError: pass\nelse: raise AssertionError"
    assert verdict(mute, tests).passed
    shown = verdict(mute, "assert f()")
    assert not shown.passed and "its text cannot be had: OSError" in shown.why


def test_raising_stop_iteration_does_not_end_a_map_over_the_cases() -> None:
    tests = "assert all(map(lambda pair: f(pair[0]) == pair[1], [(1, 2), (2, 3)]))"
    assert verdict("def f(x): return x + 1", tests).passed
    assert not verdict("def f(x): raise StopIteration", tests).passed


def test_tests_that_catch_everything_are_not_fooled_by_a_program_that_ends() -> None:
    tests = "assert g() == 1\ntry:\n    f()\nexcept:\n    pass"
    code = "import os\ndef g(): return 1\ndef f(): "
    assert verdict(code + "raise ValueError", tests).passed
    assert verdict(code + "os._exit(0)", tests).why == "the program ended before it answered"
    again = "for _ in range(3):\n    try:\n        f()\n    except:\n        pass"
    assert verdict(code + "os._exit(0)", again).why == "the program ended before it answered"


def test_the_problems_own_functions_are_not_the_codes_to_replace() -> None:
    prompt = "def double(x):\n    return 2 * x\ndef half(x):\n    'The inverse of double.'\n"
    tests = "def check(candidate):\n    for x in (2, 4, 6): assert candidate(double(x)) == x"
    fooled = "def double(x): return 0\ndef half(x): return x"
    assert verdict(
        "def half(x): return x // 2", tests, entry_point="half", prompt_code=prompt
    ).passed
    assert not verdict(fooled, tests, entry_point="half", prompt_code=prompt).passed


def test_what_cannot_be_judged_is_unscored_or_fails_but_never_passes() -> None:
    takes = verdict("def f(g): return g(1)", "assert f(lambda x: x) == 1")
    assert takes.score is None and takes.passed is None and "only plain data" in takes.why
    gives = verdict("class A: pass\ndef f(): return A()", "assert f()")
    assert gives.score == 0.0 and "type A" in gives.why
    puts = verdict("class A: pass\ndef f(x): x.append(A())", "f([])")
    assert puts.score == 0.0 and "type A" in puts.why
    grows = verdict("def f(x): return 'x' * (9 << 20)", "assert f(f(1) + f(2)) == f(1)")
    assert grows.score == 0.0 and "more than" in grows.why
    assert verdict("def f(): pass", "assert 1").score is None
    assert verdict("def f(): pass", "raise SystemExit").score is None


def test_wrong_problems_are_errors_and_not_verdicts() -> None:
    for meta in ({}, {"tests": ""}, {"tests": []}, {"tests": [{"input": "1"}]}, {"tests": "def ("}):
        with pytest.raises(DataError):
            verify_problem(problem(**meta), "def f(): pass")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="entry_point"):
        verify_problem(problem(tests="def check(f): assert f(1)"), "def f(): pass")


def test_programs_are_judged_by_what_they_print() -> None:
    tests: Json = [{"input": "3\n1 2 3\n", "output": "6\n"}, {"input": "0\n\n", "output": "0"}]
    right = "n = int(input())\nprint(sum(map(int, input().split())), ' ')\n"
    assert verify_problem(problem(tests=tests), f"```python\n{right}```").passed
    for wrong in ("print(6)", "input()", "print(1/0)", "while True: print(6)", "exit(1)"):
        found = verify_problem(problem(tests=tests, timeout_s=2), wrong)
        assert found.score == 0.0 and found.why.startswith("example "), wrong


def test_the_code_is_the_last_block_that_defines_the_function() -> None:
    right, use = "```py\ndef f(): return 1\n```", "```\nprint(f())\n```"
    assert extract_code(f"Draft {right} {right}\n{use}", entry_point="f") == "def f(): return 1\n"
    assert extract_code(f"{use}\n{right}", entry_point="") == "def f(): return 1\n"
    assert extract_code("```js\nf\n```\n```python\nx = 1", entry_point="f") == "x = 1"
    assert extract_code("    return 1", entry_point="f", prompt_code="def f():\n") == (
        "def f():\n    return 1"
    )
    assert extract_code("f = len", entry_point="f", prompt_code="import os\n").endswith("f = len")
    assert extract_code("a ``` b\nc", entry_point="f") == "a ``` b\nc"


def test_run_code_is_the_same_judge() -> None:
    source = "def helper(x): return x\ndef add(a, b): return helper(a) + b"
    limits = {"timeout_s": 3.0, "memory_mb": 256}
    asserts = "assert add(1, 2) == 3"
    check = "def check(fn):\n    assert fn(1, 2) == 3"
    for tests in (asserts, check, check + "\ncheck(add)"):
        assert conformance.run_code(source, tests=tests, **limits).passed  # type: ignore[arg-type]
        wrong = source.replace("+ b", "- b")
        assert conformance.run_code(wrong, tests=tests, **limits).score == 0.0  # type: ignore[arg-type]


def test_verdicts_come_from_any_thread() -> None:
    found: list[bool | None] = []
    tests = "assert f(2) == 4"
    threads = [
        threading.Thread(
            target=lambda: found.append(verdict("def f(x): return x * x", tests).passed)
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6
