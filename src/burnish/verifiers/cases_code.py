"""Cases for the code verifier: attacks, wrong code, and right code in the forms that models write.

burnish.verifiers.cases_code.code_cases(num=10, seed=0)
"""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from burnish.rng import key
from burnish.types import Conversation, Problem
from burnish.verifiers.cases import Case
from burnish.verifiers.code import TASK
from burnish.verifiers.code_attacks import ATTACKS

TIMEOUT_S, MEMORY_MB = 2.0, 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exercise:
    """A function to write, with its right body and wrong ones, indented by four."""

    signature: str
    asked: str
    right: str
    wrong: tuple[str, ...]
    """Off by a case, and what only the first test takes for right."""
    tests: str

    @property
    def name(self) -> str:
        return self.signature[len("def ") : self.signature.index("(")]

    def code(self, body: str) -> str:
        return f"{self.signature}\n{textwrap.indent(body, '    ')}\n"

    def problem(self) -> Problem:
        stub = f'{self.signature}\n    """{self.asked}"""\n'
        meta = {
            "tests": self.tests,
            "entry_point": self.name,
            "prompt_code": stub,
            "timeout_s": TIMEOUT_S,
            "memory_mb": MEMORY_MB,
        }
        asked = f"Complete this function in Python:\n\n```python\n{stub}```"
        return Problem(prompt=Conversation.of(asked), task=TASK, meta=json.dumps(meta))


_EXERCISES = (
    _Exercise(
        signature="def total_of_squares(numbers):",
        asked="The sum of the squares of the numbers.",
        right="return sum(x * x for x in numbers)",
        wrong=("return sum(x * x for x in numbers[1:])", "return 14"),
        tests="def check(candidate):\n    assert candidate([1, 2, 3]) == 14\n"
        "    assert candidate([]) == 0\n    assert candidate([-4]) == 16\n",
    ),
    _Exercise(
        signature="def count_words(text):",
        asked="How often each word of the text occurs, as a dict; case does not matter.",
        right="found = {}\nfor word in text.lower().split():\n"
        "    found[word] = found.get(word, 0) + 1\nreturn found",
        wrong=("return {word: 1 for word in text.lower().split()}", "return {'a': 2, 'b': 1}"),
        tests="def check(candidate):\n    assert candidate('a b A') == {'a': 2, 'b': 1}\n"
        "    assert candidate('') == {}\n    assert candidate('x x x') == {'x': 3}\n",
    ),
    _Exercise(
        signature="def mean_of(numbers):",
        asked="The mean of at least one number.",
        right="return sum(numbers) / len(numbers)",
        wrong=("return sum(numbers) // len(numbers)", "return 1.5"),
        tests="def check(candidate):\n    assert abs(candidate([1, 2]) - 1.5) < 1e-9\n"
        "    assert abs(candidate([2.5]) - 2.5) < 1e-9\n"
        "    assert abs(candidate([1, 2, 4]) - 7 / 3) < 1e-9\n",
    ),
    _Exercise(
        signature="def is_palindrome(text):",
        asked="Whether the text reads the same backwards.",
        right="return text == text[::-1]",
        wrong=("return text[:1] == text[-1:]", "return True"),
        tests="def check(candidate):\n    assert candidate('abba') is True\n"
        "    assert candidate('ab') is False\n    assert candidate('abca') is False\n"
        "    assert candidate('') is True\n",
    ),
    _Exercise(
        signature="def sort_in_place(items):",
        asked="Sorts the list itself, downwards, and returns its largest and smallest item.",
        right="items.sort(reverse=True)\nreturn items[0], items[-1]",
        wrong=("return max(items), min(items)", "items[:] = [3, 2, 1]\nreturn 3, 1"),
        tests="items = [2, 3, 1]\nassert sort_in_place(items) == (3, 1)\n"
        "assert items == [3, 2, 1]\n"
        "other = [5, 9]\nassert sort_in_place(other) == (9, 5)\nassert other == [9, 5]\n",
    ),
    _Exercise(
        signature="def root_of(number):",
        asked="The whole square root; ValueError for a number below zero.",
        right="if number < 0:\n    raise ValueError(number)\n"
        "import math\nreturn math.isqrt(number)",
        wrong=("return int(abs(number) ** 0.5)", "return 3"),
        tests="def check(candidate):\n    assert candidate(9) == 3\n"
        "    assert candidate(10**40) == 10**20\n    try:\n        candidate(-1)\n"
        "    except ValueError:\n        return\n    assert False\n",
    ),
)


def _two_blocks(exercise: _Exercise) -> str:
    """A draft that is wrong, the answer, and how to use it."""
    draft, answer = exercise.code(exercise.wrong[0]), exercise.code(exercise.right)
    use = f"print({exercise.name}.__name__)"
    better = f"Better:\n```python\n{answer}```\nUse:\n```\n{use}\n```"
    return f"A first try:\n```python\n{draft}```\n{better}"


def _prose(exercise: _Exercise) -> str:
    block = f"```python\n{exercise.code(exercise.right)}```"
    return f"Sure! Here is the function you asked for:\n\n{block}\n\nIt passes `assert`-tests too."


def _typed(exercise: _Exercise) -> str:
    head, _, rest = exercise.code(exercise.right).partition("):")
    head = "from typing import Any\nimport math\n\n" + head
    return f"```python3\n{head}: Any) -> Any:{rest}```"


_FORMS: Mapping[str, Callable[[_Exercise], str]] = {
    "plain": lambda e: e.code(e.right),
    "fenced": lambda e: f"```python\n{e.code(e.right)}```",
    "fenced_without_a_tag": lambda e: f"```\n{e.code(e.right)}```",
    "fenced_by_tildes": lambda e: f"~~~py\n{e.code(e.right)}~~~\n",
    "unclosed_fence": lambda e: f"Here:\n```python\n{e.code(e.right)}",
    "windows_lines": lambda e: f"```python\n{e.code(e.right)}```".replace("\n", "\r\n"),
    "prose_around": _prose,
    "draft_answer_and_use": _two_blocks,
    "thought_first": lambda e: (
        f"<think>```python\n{e.code(e.wrong[0])}```</think>\n```python\n{e.code(e.right)}```"
    ),
    "continuation": lambda e: textwrap.indent(e.right, "    ") + "\n",
    "type_hints": _typed,
    "main_guard": lambda e: (
        f"{e.code(e.right)}\nif __name__ == '__main__':\n    raise SystemExit(input())\n"
    ),
    "prints_while_it_works": lambda e: (
        f"```python\nprint('loading')\n{e.code('print(1)' + chr(10) + e.right)}```"
    ),
    "helper_function": lambda e: (
        f"```python\n{e.code(e.right).replace(e.name, '_inner')}\n"
        f"def {e.name}(*args):\n    return _inner(*args)\n```"
    ),
}
_WRONG: Mapping[str, Callable[[_Exercise], str]] = {
    "off_by_a_case": lambda e: f"```python\n{e.code(e.wrong[0])}```",
    "first_test_only": lambda e: f"```python\n{e.code(e.wrong[1])}```",
    "stub": lambda e: f"```python\n{e.code('pass')}```",
    "returns_none": lambda e: f"```python\n{e.code('return None')}```",
    "another_name": lambda e: f"```python\n{e.code(e.right).replace(e.name, 'answer')}```",
    "syntax_error": lambda e: f"```python\n{e.signature}\n    return (\n```",
    "no_code": lambda e: "I would sort the items and then look at the first one.",
    "empty": lambda e: "",
    "another_language": lambda e: "```javascript\nfunction f(x) { return x; }\n```",
    "wrong_after_right": lambda e: (
        f"```python\n{e.code(e.right)}```\nWait:\n```python\n{e.code(e.wrong[0])}```"
    ),
}


def code_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` cases of each kind: attacks (`attack/...`), wrong code and right code."""
    cases = []
    for kind, source in ATTACKS.items():
        for exercise in _drawn(num, seed, kind):
            attack = source.replace("def solve(", f"def {exercise.name}(")
            attack = attack.replace("return solve(", f"return {exercise.name}(")
            text = f"```python\n{attack}\n```"
            case = Case(
                problem=exercise.problem(), completion=text, passes=False, kind=f"attack/{kind}"
            )
            cases.append(case)
    for forms, passes, group in ((_WRONG, False, "wrong"), (_FORMS, True, "right")):
        for kind, form in forms.items():
            cases += [
                Case(problem=e.problem(), completion=form(e), passes=passes, kind=f"{group}/{kind}")
                for e in _drawn(num, seed, kind)
            ]
    return cases


def _drawn(num: int, seed: int, kind: str) -> list[_Exercise]:
    """Exercises in turn, from a drawn one on."""
    first = key(seed, "code", kind) % len(_EXERCISES)
    return [_EXERCISES[(first + i) % len(_EXERCISES)] for i in range(num)]
