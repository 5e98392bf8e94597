"""Numbers as people and models write them, read exactly: 1,000.5, $18, 3 1/2, 2e3, 50%, 2 million.

Exact rationals, so that nothing is lost to rounding. Only the digits 0 to 9 are digits: a text with
others (fullwidth, superscript, of other scripts) holds no number, since it may show something else
than it says. What is not certain is no number: `1,5` is neither 15 nor 1.5.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from burnish.verifiers.latex import plain, without_units

MAX_DIGITS = 200
"""Longer numbers are not read."""
MAX_TEXT = 2000
"""Characters: a longer statement is no answer."""

_INT = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_INT}(?:\.\d+)?|\.\d+)"
_POWER = r"(?:[eE](?P<exp>[-+]?\d{1,3})(?!\d)|\s?[*x×]\s?10\s?\^\s?\{?(?P<pow>-?\d{1,3})\}?(?!\d))"
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]%])[-+])?[$€£¥]?(?P<inner>(?<=[$€£¥])-)?(?<![\w.])"
    rf"(?:(?:(?P<whole>\d+)[ ]+)?(?P<over>{_INT})\s?/\s?(?P<under>{_INT})(?![\d.]*\s?/)"
    r"|10\s?\^\s?\{?(?P<ten>-?\d{1,3})\}?(?!\d)"
    rf"|(?P<decimal>{_DECIMAL}){_POWER}?)"
    r"(?P<percent>\s?(?:%|percent\b|per\s?cent\b))?"
    r"(?:\s?(?P<scale>(?i:hundred|thousand|million|billion|trillion|k))\b)?"
    r"(?P<suffix>[^\W\d_]+)?",
    re.ASCII,
)
_REPEATING = re.compile(
    r"(-?)(\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s?\{\s?(\d{1,20})\s?\}", re.ASCII
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "k": 10**3, "million": 10**6, "billion": 10**9}
_SCALES["trillion"] = 10**12
_NAME = re.compile(r"^[a-zA-Z](?:\([a-zA-Z]\))?\s*=\s*")
_UNITS = frozenset(
    """
    degrees degree dollars dollar cents cent cm mm km kg inches inch feet miles mph hours hour
    minutes minute seconds second days day weeks years square units unit square units percent
    """.split()  # noqa: SIM905
)
_SUFFIXES = frozenset(
    """
    st nd rd th am pm s h hr hrs min mins sec secs ms d g kg mg lb lbs oz m cm mm km in ft yd mi l
    ml mph kph usd eur gbp c f x
    """.split()  # noqa: SIM905
)
_UNSURE = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|or|either|maybe|perhaps|possibly|might|could|except|"
    r"wrong|incorrect|(?:any|every)thing but|all but|none of|"
    r"between|(?:at )?(?:least|most)|(?:more|less|fewer|greater|other|rather) than|"
    r"unlike|instead)\b|n['’]t\b|[≠<>≤≥±?|]",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"(?:√|\bsqrt\b|\broot of|\bdouble|\btwice|\btriple|\b(?:half|third|quarter) of|\b[a-z]\()"
    r"[^\w.;]{0,3}\d|\d\)?\s?(?:squared|cubed|factorial)\b|\d\s?[-+]\W*$",
    re.IGNORECASE,
)
"""What makes another number of the one beside it."""
_MINUS = re.compile(r"\b(?:minus|negative)\s+(?=[$€£¥]?\s?\.?\d)", re.IGNORECASE)
_OPERATOR = re.compile(r"[-+*/×÷^·]|(?<=[\d\s])x(?=[\d\s])")
_LOOSE_SIGN = re.compile(r"(?:^|[^\w\s])\s?-\s?\(?$")
_PARTS = re.compile(r"(?<=[^.])\.\s+|[;!\n]|\b(?:because|since)\b", re.IGNORECASE)
_ASIDE = re.compile(r"\(([^()]*=[^()]*)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A number as written: of `50%` the value is 50, and `percent` is said."""

    value: Fraction
    percent: bool = False


def quantity(text: str) -> Quantity | None:
    """The one number that a statement gives, among words and units; None where it gives none.

    All numbers in it must be the same, but for the working on the left of an equals sign. Words of
    doubt, choice or denial (`not 4`, `4 or 5`, `at least 4`) leave no number.
    """
    if len(text) > MAX_TEXT or not visible(text):
        return None
    bare = _MINUS.sub("-", plain(text))
    if _UNSURE.search(bare) or _CHANGED.search(bare):
        return None
    found = [part for part in map(_of_part, _PARTS.split(_ASIDE.sub(r";\1;", bare))) if part != ()]
    if not found or any(part is None for part in found):
        return None
    values = {q for part in found for q in part or ()}
    return values.pop() if len(values) == 1 else None


def literal(text: str) -> Quantity | None:
    """The number that the whole text is, a name before `=` and units aside; None for all else."""
    if len(text) > MAX_TEXT or not visible(text):
        return None
    bare = plain(without_units(text.strip().strip("$").rstrip(".,; ")))
    bare = _NAME.sub("", bare).rstrip(".,; ")
    if repeating := _REPEATING.fullmatch(bare):
        return Quantity(value=_repeating(*repeating.groups()))
    match = _NUMBER.match(bare)
    if match is None or match["suffix"] or _UNSURE.search(bare):
        return None
    unit = bare[match.end() :].strip().casefold()
    return _value(match) if not unit or unit in _UNITS else None


def same(given: Quantity, reference: Quantity, *, asked_percent: bool = False) -> bool:
    """Whether both are the same number.

    50% is 0.5, and is also 50 where that is asked in percent: the reference exceeds 1 or the
    question says so. A decimal of at least six places stands for a fraction that rounds to it.
    """
    if given.percent == reference.percent:
        return _close(given.value, reference.value)
    size = abs(reference.value if given.percent else given.value)
    if (asked_percent or size > 1 or reference.percent) and given.value == reference.value:
        return True
    a = given.value / 100 if given.percent else given.value
    b = reference.value / 100 if reference.percent else reference.value
    return _close(a, b)


def visible(text: str) -> bool:
    """Whether all of it can be seen, and no digits but 0 to 9 are in it."""
    kinds = {unicodedata.category(c) for c in text if not c.isascii()}
    return not hidden(text) and not kinds & {"Nd", "Nl", "No", "Mn", "Me"}


def hidden(text: str) -> bool:
    """Whether it has characters that show nothing, or turn or overwrite what is shown."""
    if text.isascii():
        return any(not c.isprintable() and c not in "\t\r\n" for c in text)
    kinds = {unicodedata.category(c) for c in text if c not in "\t\r\n"}
    return bool(kinds & {"Cc", "Cf", "Cs", "Co", "Cn"})


def _of_part(text: str) -> tuple[Quantity, ...] | None:
    """The numbers a sentence gives: none (), or those that must agree; None if unreadable."""
    *working, last = re.split(r"[=≈]", text)
    given: list[Quantity] = []
    for side in [*working, last]:
        numbers = _numbers(side)
        if numbers is None:
            return None
        operators = len(_OPERATOR.findall(side))
        if side is last:
            if (working and not numbers) or (operators and len(numbers) > 1):
                return None
            given += numbers
        elif not operators:
            given += numbers
        elif len(numbers) > operators + 1:
            return None
    return tuple(given)


def _numbers(text: str) -> list[Quantity] | None:
    """Every number in the text; None where digits are left that belong to none."""
    found: list[Quantity] = []
    rest, at = [], 0
    for match in _NUMBER.finditer(text):
        value = _value(match)
        before, after = text[at : match.start()], text[match.end() : match.end() + 2]
        if (
            value is None
            or _LOOSE_SIGN.search(text[max(0, match.start() - 6) : match.start()])
            or re.match(r",\d", after)
        ):
            return None
        found.append(value)
        rest.append(before)
        at = match.end()
    rest.append(text[at:])
    return None if any(c.isdigit() for part in rest for c in part) else found


def _value(match: re.Match[str]) -> Quantity | None:
    suffix = match["suffix"]
    if suffix and suffix.lower() not in _SUFFIXES:
        return None
    if len(match[0]) > MAX_DIGITS or (match["sign"] and match["inner"]):
        return None
    if match["over"]:
        under = _fraction(match["under"])
        if under == 0:
            return None
        value = _fraction(match["over"]) / under
        value += _fraction(match["whole"]) if match["whole"] else 0
    elif match["ten"]:
        value = Fraction(10) ** int(match["ten"])
    else:
        value = _fraction(match["decimal"]) * Fraction(10) ** int(match["exp"] or match["pow"] or 0)
    if match["scale"]:
        value *= _SCALES[match["scale"].lower()]
    negative = match["sign"] == "-" or bool(match["inner"])
    return Quantity(value=-value if negative else value, percent=bool(match["percent"]))


def _repeating(sign: str, whole: str, fixed: str, period: str) -> Fraction:
    """0.1(6), which is 1/6."""
    size = Fraction(int(f"0{whole}{fixed}"), 10 ** len(fixed))
    size += Fraction(int(period), 10 ** len(fixed) * (10 ** len(period) - 1))
    return -size if sign else size


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))


def _close(a: Fraction, b: Fraction) -> bool:
    return a == b or _rounds(a, b) or _rounds(b, a)


def _rounds(decimal: Fraction, exact: Fraction) -> bool:
    """Whether `exact`, which no decimal is, rounds to this decimal of six or more places."""
    if _places(exact) is not None:
        return False
    places = _places(decimal)
    return places is not None and places >= 6 and round(exact, places) == decimal


def _places(value: Fraction) -> int | None:
    """Decimal places of a fraction; None where they never end."""
    under, twos, fives = value.denominator, 0, 0
    while under % 2 == 0:
        under, twos = under // 2, twos + 1
    while under % 5 == 0:
        under, fives = under // 5, fives + 1
    return max(twos, fives) if under == 1 else None
