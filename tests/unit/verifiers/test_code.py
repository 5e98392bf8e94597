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


STACK = """
class Stack:
    kind = 'last in, first out'
    def __init__(self, items=()): self.items, self.size = list(items), 9
    def push(self, item): self.items.append(item); return self
    def pop(self):
        if not self.items: raise Empty('nothing left')
        return self.items.pop()
    def copy(self): return Stack(self.items)
    def fill(self, into): into.extend(self.items)
    @property
    def top(self): return self.items[-1]
    @classmethod
    def of(cls, *items): return cls(items)
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, i): return self.items[i]
    def __contains__(self, item): return item in self.items
    def __eq__(self, other): return self.items == other.items
    def __hash__(self): return hash(tuple(self.items))
    def __lt__(self, other): return len(self) < len(other)
    def __add__(self, other): return Stack(self.items + other.items)
    def __str__(self): return '|'.join(map(str, self.items))
class Empty(Exception): pass
def joined(stacks): return [item for stack in stacks for item in stack]
"""


@pytest.mark.parametrize(
    "right",
    [
        "s = Stack()\ns.push(1).push(2)\nassert s.pop() == 2 and s.pop() == 1 and len(s) == 0",
        "s = Stack([1, 2])\nassert len(s) == 2 and list(s) == [1, 2] and s[0] == 1 and 2 in s",
        "assert 3 not in Stack([1]) and str(Stack([1, 2])) == '1|2'",
        "a, b = Stack([1]), Stack([1])\nassert a == b and not a != b and len({a, b}) == 1\n"
        "assert a.items == [1]",
        "assert Stack([1]) + Stack([2]) == Stack([1, 2]) and Stack([1]) < Stack([1, 2])",
        "s = Stack([1])\nassert isinstance(s.copy(), Stack) and len(s.copy()) == 1",
        "s = Stack([1])\ns.size = 4\nassert s.size == 4 and s.top == 1 and s.items == [1]",
        "assert Stack.of(1, 2).top == 2 and Stack.kind.startswith('last')",
        "found = []\nStack([1]).fill(found)\nassert found == [1]",
        "assert joined([Stack([1]), Stack([2, 3])]) == [1, 2, 3] and not Stack()",
        "try: Stack().pop()\nexcept Empty as error: assert 'nothing' in str(error)\nelse: assert 0",
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def setUp(self): self.s = Stack([1])\n"
        "    def test_pop(self): self.assertEqual(self.s.pop(), 1)\n"
        "    def test_empty(self):\n        self.s.pop()\n"
        "        with self.assertRaises(Empty): self.s.pop()\nunittest.main()",
    ],
)
def test_classes_are_judged_by_stand_ins_for_their_objects(right: str) -> None:
    assert verdict(STACK, right).why == ""
    broken = STACK.replace("list(items)", "list(items) + [7]")
    assert verdict(broken, right).passed is False
    assert "defines no" in verdict("x = 1", right).why


def test_a_class_may_be_what_check_is_called_with() -> None:
    tests = (
        "def check(candidate):\n    c = candidate(2)\n    c.put(1, 1)\n    assert c.get(1) == 1\n"
    )
    tests += "    c.put(2, 2)\n    c.put(3, 3)\n    assert c.get(1) == -1"
    prompt = "class LRUCache:\n    def __init__(self, capacity): ...\n"
    right = """
from collections import OrderedDict
class LRUCache(OrderedDict):
    def __init__(self, capacity): super().__init__(); self.capacity = capacity
    def get(self, key):
        if key not in self: return -1
        self.move_to_end(key); return self[key]
    def put(self, key, value):
        self[key] = value; self.move_to_end(key)
        if len(self) > self.capacity: self.popitem(last=False)
"""
    given = {"entry_point": "LRUCache", "prompt_code": prompt}
    assert verdict(right, tests, **given).passed
    assert not verdict(right.replace("> self.capacity", "> 99"), tests, **given).passed


_LIAR = """
class Any:
    __eq__ = __contains__ = __lt__ = __le__ = __gt__ = __ge__ = lambda s, o: True
    __ne__ = lambda s, o: False
    __hash__ = lambda s: 0
    __sub__ = __rsub__ = __add__ = __radd__ = __mul__ = __truediv__ = lambda s, o: Any()
    __abs__ = __neg__ = __round__ = lambda s, *a: Any()
    __len__ = lambda s: 1
    __iter__ = lambda s: iter([Any()])
    __getitem__ = lambda s, i: Any()
    __bool__ = lambda s: True
    __float__ = lambda s: 0.125
    __str__ = lambda s: 'any'
    __getattr__ = lambda s, n: Any()
    __call__ = lambda s, *a, **k: Any()
class Stack(Any):
    def __init__(self, *a): pass
def total(*a): return Any()
def solve(*a): return Any()
"""


@pytest.mark.parametrize(
    "tests",
    [
        "assert Stack([1]).pop() == 1",
        "assert 1 == Stack([1]).pop()",
        "assert Stack([1]).top == 1",
        "assert not Stack([1]).pop() != 1",
        "assert Stack([1]) == [1]",
        "assert list(Stack([1])) == [1]",
        "assert Stack([1]).items()[0] == 1",
        "assert abs(Stack([1]).mean() - 1.0) < 1e-9",
        "assert Stack([1]).mean() >= 1",
        "assert 1 in Stack([1]).items() and 2 in [1, 2]",
        "assert Stack([1]).pop() in (1, 2)",
        "assert {1: True}.get(Stack([1]).pop())",
        "import math\nassert math.isclose(Stack([1]).mean(), 1.0)",
        "assert str(Stack([1])) == '1'",
        "assert Stack([3, 1]).sorted() == [1, 3]",
        "s = Stack()\nassert total(s, 2) == 2",
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_pop(self): self.assertEqual(Stack([1]).pop(), 1)",
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_mean(self): self.assertAlmostEqual(Stack([1]).mean(), 1.0)",
    ],
)
def test_an_object_that_equals_everything_equals_nothing_of_the_tests(tests: str) -> None:
    assert verdict(_LIAR, tests).passed is False


def test_a_capital_does_not_make_a_class_of_what_the_tests_only_compare() -> None:
    tests = "assert Find_Max([1, 3]) == (3, 1)\nassert set(Find_Max([2])) == {2, 0}"
    right = "def Find_Max(items): return max(items), items.index(max(items))"
    named = (
        "from typing import NamedTuple\nclass Found(NamedTuple):\n    value: int\n    at: int\n"
        "def Find_Max(items): return Found(max(items), items.index(max(items)))"
    )
    liar = "class Any:\n    __eq__ = lambda s, o: True\ndef Find_Max(items): return Any()"
    assert verdict(right, tests).passed and verdict(named, tests).passed
    assert "only plain data" in verdict(liar, tests).why
    two = "class P:\n    def __init__(self, x): self.x = x\n    __eq__ = lambda s, o: s.x == o.x"
    assert verdict(two, "assert P(1) == P(1)\nassert not P(1) == P(2)").passed
    assert verdict(two, "p = P(1)\nassert p.x == 1\nassert P(2) != 2").passed


def test_where_the_tests_name_no_class_no_object_is_taken() -> None:
    for tests in (
        "assert solve(1) == 1",
        "assert solve(1).startswith('a')",
        "assert 1 in solve(1)",
    ):
        assert "type Any" in verdict(_LIAR, tests).why


UNIT = "import unittest\nclass TestIt(unittest.TestCase):\n    def test_two(self):\n"
UNIT += "        self.assertEqual(double(2), 4)\n    def test_no(self):\n"
UNIT += "        self.assertRaises(TypeError, double, None)\n"


@pytest.mark.parametrize(
    "tests",
    [
        UNIT,
        UNIT + "unittest.main()",
        UNIT + "if __name__ == '__main__':\n    unittest.main()",
        "def test_two():\n    assert double(2) == 4\ndef test_no():\n"
        "    try: double(None)\n    except TypeError: return\n    assert False",
    ],
)
def test_unit_tests_give_a_verdict(tests: str) -> None:
    assert verdict("def double(x): return 2 * x", tests).passed
    wrong = verdict("def double(x): return x + 3", tests)
    assert wrong.passed is False and "AssertionError" in wrong.why
    assert verdict("def double(x): return 4", tests).passed is False
    assert verdict("import os\ndef double(x): os._exit(0)", tests).passed is False
    patched = "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
    assert verdict(patched + "def double(x): return None", tests).passed is False


def test_tests_that_import_what_no_box_has_are_unscored() -> None:
    found = verdict("def f(): return 1", "import numpy as np\nassert f() == 1")
    assert found.score is None and found.why == "the tests import numpy, which no box has"
    raised = verdict("def f(): raise ModuleNotFoundError('numpy')", "assert f() == 1")
    assert raised.passed is False


def test_problems_that_differ_in_their_tests_alone_are_different_problems() -> None:
    one, other = problem(tests="assert f() == 1"), problem(tests="assert f() == 2")
    assert one.id != other.id and one.id == problem(tests="assert f() == 1").id


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
