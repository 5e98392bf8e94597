"""Units of money, time, length, weight and volume: whether an answer is in one that was asked for.

Conversion is not attempted. A number in a unit that the question never names, while it names others
of the same kind, is the answer to another question: 90 minutes where hours were asked.
"""

import re
from collections.abc import Mapping

_KINDS: Mapping[str, tuple[str, ...]] = {
    "money": (r"dollars?|\$|usd|bucks?", r"cents?|¢", r"pennies|penny", r"euros?|€", r"pounds?|£"),
    "time": (
        r"seconds?|secs?",
        r"minutes?|mins?",
        r"hours?|hrs?|hourly",
        r"days?|daily",
        r"weeks?|weekly",
        r"months?|monthly",
        r"years?|yearly|annual(?:ly)?",
    ),
    "length": (
        r"mm|millimet(?:er|re)s?",
        r"cm|centimet(?:er|re)s?",
        r"met(?:er|re)s?",
        r"km|kilomet(?:er|re)s?",
        r"inch(?:es)?",
        r"feet|foot|ft",
        r"yards?",
        r"miles?",
    ),
    "weight": (
        r"mg|milligrams?",
        r"grams?",
        r"kg|kilograms?|kilos?",
        r"ounces?|oz",
        r"lbs?|pounds?",
    ),
    "volume": (r"ml|millilit(?:er|re)s?", r"lit(?:er|re)s?", r"gallons?", r"quarts?", r"pints?"),
}
_FOUND = {
    kind: [re.compile(rf"(?<![a-z])(?:{unit})(?![a-z])", re.IGNORECASE) for unit in units]
    for kind, units in _KINDS.items()
}
_MATH = re.compile(r"\$(?=[^$]*\$)([^$]*)\$|\$(?=\s*\\)")
"""`$...$` and `$\\boxed`: LaTeX's marks, and no dollars."""
_POUNDS = re.compile(r"£|\bsterling\b", re.IGNORECASE)
_RATE = re.compile(r"\b(?:per|a|an|each|every|/)\s+\w+", re.IGNORECASE)


_DOZENS = re.compile(r"\b(?:dozens?|gross)\b", re.IGNORECASE)


def differ(unit: str, other: str) -> bool:
    """Whether both name units that are known here, and none of them is the same."""
    named, others = _named(unit), _named(other)
    return bool(named) and bool(others) and not named & others


def _named(text: str) -> set[str]:
    return {u.pattern for units in _FOUND.values() for u in units if u.search(_RATE.sub("", text))}


def fits(answer: str, question: str) -> bool:
    """Whether each unit in the answer is one of the question's, or of a kind it does not name."""
    if _DOZENS.search(answer) and not _DOZENS.search(question):
        return False
    bare = _RATE.sub("", _MATH.sub(r"\1", answer))
    for kind, units in _FOUND.items():
        if kind == "money" and not _POUNDS.search(question):  # pounds of flour are no money
            units = [*units[:-1], re.compile("£")]
        said = [unit for unit in units if unit.search(bare)]
        if not said:
            continue
        asked = [unit for unit in units if unit.search(question)]
        if asked and not any(unit in asked for unit in said):
            return False
    return True
