"""Exact answers: the text after the last `Answer:` must equal the reference.

Numbers compare as numbers (`7`, `7.0` and `+7` agree); other text compares case-folded, without
surrounding punctuation.
"""

import re
from decimal import Decimal, InvalidOperation

from burnish.types import Verdict

_MARK = re.compile(r"answer\s*:", re.IGNORECASE)


def verify_exact(completion: str, reference: str) -> Verdict:
    """Passed when the last line marked `Answer:` holds the reference; score 1 or 0."""
    marks = list(_MARK.finditer(completion))
    if not marks:
        return Verdict(score=0.0, passed=False, why="no `Answer:` in the completion", judge="exact")
    rest = completion[marks[-1].end() :].strip()
    given = rest.splitlines()[0] if rest else ""
    passed = normalise(given) == normalise(reference)
    why = "" if passed else f"answered {given.strip()[:40]!r}, expected {reference!r}"
    return Verdict(score=float(passed), passed=passed, why=why, judge="exact")


def extract_answer(completion: str) -> str:
    """The normalised answer, "" where there is none: what majority votes count."""
    marks = list(_MARK.finditer(completion))
    rest = completion[marks[-1].end() :].strip() if marks else ""
    return normalise(rest.splitlines()[0]) if rest else ""


def normalise(text: str) -> str:
    """Numbers in one canonical form; other text case-folded and stripped of outer punctuation."""
    bare = text.strip().strip("\"'`*_.!,;:()[] ").replace(",", "")
    try:
        number = Decimal(bare)
    except InvalidOperation:
        return " ".join(bare.casefold().split())
    if not number.is_finite():
        return bare.casefold()
    return f"{number.normalize():f}" if number else "0"
