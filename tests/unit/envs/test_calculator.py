"""Arithmetic that a model asks for: right, exact, and harmless whatever is asked."""

import time

import pytest

from burnish.envs.calculator import calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12*7", "84"),
        ("347 * 86", "29842"),
        (" (1 + 2) * -3 ", "-9"),
        ("1/4", "0.25"),
        ("0.1 + 0.2", "0.3"),
        ("1/3", "0.3333333333"),
        ("1/3*3", "1"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("2**10", "1024"),
        ("2**-2", "0.25"),
        ("(-1)**1000001", "-1"),
        ("0**0", "1"),
        ("-1/8", "-0.125"),
        ("1e3", "1000"),
        ("(" * 99 + "1" + ")" * 99, "1"),
        ("-" * 199 + "1", "-1"),
    ],
)
def test_values_by_hand(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "10**400",
        "9**-9**9",
        "1e400",
        "(10**150)*(10**150)",
        "1/0",
        "0**-1",
        "2**0.5",
        "__import__('os').system('true')",
        "().__class__",
        "[1 for x in range(10**9)]",
        "True + 1",
        "1 < 2",
        "'a' * 9",
        "x",
        "1_000 if 1 else 2",
        "12*",
        "",
        "1" * 201,
        "1 \x00 2",
        "1j",
        "f'{1}'",
        "(lambda: 1)()",
        "1, 2",
    ],
)
def test_what_is_no_bounded_arithmetic_is_refused_at_once(expression: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"\w") as error:
        calculate(expression)
    assert time.perf_counter() - started < 0.5 and len(str(error.value)) < 80
