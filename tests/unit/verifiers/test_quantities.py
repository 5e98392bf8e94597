"""Numbers in text: which are read, as what, and which are not."""

from fractions import Fraction

import pytest

from burnish.verifiers.quantities import literal, quantity, same
from burnish.verifiers.units import fits

ONE = [
    ("18", 18),
    ("$18.00", 18),
    ("\\$18", 18),
    ("**18**", 18),
    ("-$18", -18),
    ("$-18", -18),
    ("\N{MINUS SIGN}18", -18),
    ("1,234,567", 1234567),
    ("1{,}000", 1000),
    ("1\\,000", 1000),
    ("1\u202f000", 1000),
    (".5", Fraction(1, 2)),
    ("1/2", Fraction(1, 2)),
    ("3 1/2", Fraction(7, 2)),
    ("3\\frac12", Fraction(7, 2)),
    ("-\\dfrac{3}{4}", Fraction(-3, 4)),
    ("2.5e3", 2500),
    ("2.5 \\times 10^{3}", 2500),
    ("10^{-2}", Fraction(1, 100)),
    ("2 million", 2000000),
    ("18k", 18000),
    ("18 kg", 18),
    ("18kg", 18),
    ("about 18 eggs, all told", 18),
    ("9 * 2 = 18", 18),
    ("18 (since 9 * 2 = 18)", 18),
    ("18, because 20 - 2 = 18", 18),
    ("x = 18", 18),
    ("It is 18. So 18", 18),
    ("90^\\circ", 90),
]
NONE = [
    "",
    "eighteen",
    "18 or 19",
    "not 18",
    "isn't 18",
    "at least 18",
    "18, 19",
    "18-19",
    "18 19",
    "1,5",
    "5,5",
    "12,34",
    "- 18",
    "20 - 2",
    "9 * 2",
    "3:30",
    "18abc",
    "x18",
    "1.2.3",
    "17 = 18",
    "17 18 19 = 18",
    "１８",
    "1８",
    "18²",
    "1\u200b8",
    "1\x008",
    "\u202e81",
    "9" * 300,
    "<number>",
]


@pytest.mark.parametrize(("text", "value"), ONE)
def test_one_number_is_read_exactly(text: str, value: Fraction | int) -> None:
    found = quantity(text)
    assert found is not None and found.value == value


@pytest.mark.parametrize("text", NONE, ids=range(len(NONE)))
def test_what_is_not_surely_one_number_is_none(text: str) -> None:
    assert quantity(text) is None


def test_a_literal_is_a_number_and_nothing_else() -> None:
    assert literal("x = \\frac{1}{2}\\text{ cm}") == literal("0.5") is not None
    for text in ("4x", "\\sqrt{4}", "f(4)", "4 + 0", "3!", "2 \\cdot 2", "4 \\text{ or } 5", "4i"):
        assert literal(text) is None


def number(text: str):
    found = literal(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("50\\%", "0.5", True),
        ("50\\%", "1/2", True),
        ("50\\%", "50", True),
        ("0.5\\%", "0.5", False),
        ("5\\%", "0.5", False),
        ("50", "0.5", False),
        ("0.333333", "1/3", True),
        ("0.33333", "1/3", False),
        ("0.333334", "1/3", False),
        ("42.0000001", "42", False),
        ("-0", "0", True),
    ],
)
def test_percent_and_rounding(a: str, b: str, equal: bool) -> None:
    assert same(number(a), number(b)) is equal


def test_percent_is_a_unit_where_the_question_asks_for_it() -> None:
    assert same(number("0.5\\%"), number("0.5"), asked_percent=True)


def test_a_unit_of_a_kind_that_the_question_names_must_be_the_questions() -> None:
    asked = "How many hours does she work, at $9 an hour?"
    assert fits("18 hours", asked) and fits("18", asked) and fits("$18", asked)
    assert fits("18 kg", asked)  # of weights it names none
    assert not fits("18 minutes", asked)
    assert not fits("18 cents", asked)
    assert fits("18 dollars per day", "How many dollars an hour?")
