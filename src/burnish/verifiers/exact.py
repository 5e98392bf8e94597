"""Exact answers: the text after the last `Answer:` must equal the reference.

Numbers compare as numbers, digit by digit (`7`, `7.0`, `+7`; `1,000` and `1000`); other text
compares case-folded, without surrounding punctuation. Units and working are not taken away: what
stands on the line is the answer.
"""

import re

from burnish.types import Problem, Verdict

_MARK = re.compile(r"answer\s*:", re.IGNORECASE)
_OUTER = "\"'`*_!,;:()[]"
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d*))?", re.ASCII)


def verify_exact_problem(problem: Problem, completion: str) -> Verdict:
    """The problem's reference answer; without one it cannot be scored."""
    if not problem.answer.strip():
        return Verdict(score=None, why="the problem has no reference answer", judge="exact")
    return verify_exact(completion, problem.answer)


def verify_exact(completion: str, reference: str) -> Verdict:
    """Passed when the last line marked `Answer:` holds the reference; score 1 or 0."""
    marks = list(_MARK.finditer(completion))
    if not marks:
        return Verdict(score=0.0, passed=False, why="no `Answer:` in the completion", judge="exact")
    rest = completion[marks[-1].end() :].strip()
    given = rest.splitlines()[0] if rest else ""
    passed = normalise(given) == normalise(reference) != ""
    why = "" if passed else f"answered {given.strip()[:40]!r}, expected {reference!r}"
    return Verdict(score=float(passed), passed=passed, why=why, judge="exact")


def given_answer(completion: str) -> str:
    """The last line marked `Answer:`, as it is written; "" where there is none."""
    marks = list(_MARK.finditer(completion))
    rest = completion[marks[-1].end() :].strip() if marks else ""
    return rest.splitlines()[0].strip() if rest else ""


def extract_answer(completion: str) -> str:
    """The normalised answer, "" where there is none: what majority votes count."""
    marks = list(_MARK.finditer(completion))
    rest = completion[marks[-1].end() :].strip() if marks else ""
    return normalise(rest.splitlines()[0]) if rest else ""


def normalise(text: str) -> str:
    """Numbers in one canonical form; other text case-folded and stripped of outer punctuation."""
    bare = text.replace("\N{MINUS SIGN}", "-").strip(_OUTER + " \t").rstrip(_OUTER + ". \t")
    number = _NUMBER.fullmatch(bare)
    if number is None or not (number[2] or number[3]):
        return " ".join(re.sub(r"\s*,\s*", ", ", bare.lstrip(".")).casefold().split())
    whole = number[2].replace(",", "").lstrip("0") or "0"
    part = (number[3] or "").rstrip("0")
    size = f"{whole}.{part}" if part else whole
    return f"-{size}" if number[1] == "-" and size != "0" else size
