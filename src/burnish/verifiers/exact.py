"""Exact answers: what stands after `Answer:` must equal the reference.

Numbers compare as numbers, digit by digit (`7`, `7.0`, `+7`; `1,000` and `1000`); other text
compares case-folded, without surrounding punctuation. Units and working are not taken away: what
stands on the line is the answer. Several lines must all say the same, but for those that are taken
back (`burnish.verifiers.statements`). Where the reference has several lines (a grid, a board), the
answer is what follows `Answer:` up to an empty line with prose below it, line for line.
"""

import re

from burnish.types import Problem, Verdict
from burnish.verifiers.statements import find_statements

_OUTER = "\"'`*_!,;:()[]"
_ROOM = 200
"""Characters of punctuation and zeros that an answer may have more than the reference."""
_FENCED = re.compile(r"```[^\n`]*\n([^`]*?)\n?[ \t]*```")
_NOTHING_IN = frozenset({"[]", "()", '""', "''"})
"""Answers that are nothing but punctuation: an empty list, or text."""
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d*))?", re.ASCII)


def verify_exact_problem(problem: Problem, completion: str) -> Verdict:
    """The problem's reference answer; without one it cannot be scored."""
    if not problem.answer.strip():
        return Verdict(score=None, why="the problem has no reference answer", judge="exact")
    return verify_exact(completion, problem.answer, problem.prompt.text)


def verify_exact(completion: str, reference: str, prompt: str = "") -> Verdict:
    """Passed when every line marked `Answer:` that counts holds the reference; score 1 or 0.

    prompt: its own `Answer:` lines, given back, are no answers.
    """
    block = is_block(reference)
    same = rows if block else normalise
    given = _given(completion, prompt, block=block)
    if not given:
        return Verdict(score=0.0, passed=False, why="no `Answer:` in the completion", judge="exact")
    expected = same(reference)
    longest = len(reference) + _ROOM
    wrong = [t for t in given if len(t) > longest or same(t) != expected or not expected]
    passed = not wrong
    why = "" if passed else f"answered {wrong[-1][:40]!r}, expected {reference!r}"
    return Verdict(score=float(passed), passed=passed, why=why, judge="exact")


def given_answer(completion: str, prompt: str = "", *, block: bool = False) -> str:
    """The answer as it is written; "" where none or several are given. block: of several lines."""
    same = rows if block else normalise
    answers = {same(text): text for text in _given(completion, prompt, block=block)}
    return next(iter(answers.values())) if len(answers) == 1 else ""


def is_block(reference: str) -> bool:
    """Whether it has several lines."""
    return "\n" in reference.strip()


def rows(text: str) -> str:
    """Lines of an answer as they compare: case-folded, with runs of blanks as one, without empty
    ones."""
    lines = (" ".join(line.casefold().split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def extract_answer(completion: str) -> str:
    """The normalised answer, "" where none or several are given: what majority votes count."""
    answers = {normalise(text) for text in _given(completion)}
    return answers.pop() if len(answers) == 1 else ""


def _given(completion: str, prompt: str = "", *, block: bool = False) -> list[str]:
    found = find_statements(completion, ("block" if block else "mark",), prompt)
    return [_unfenced(s.value) if block else s.value.strip() for s in found]


def _unfenced(text: str) -> str:
    """A block without the fence of a code block, or the asterisks, around it."""
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text.strip("*` \t\r\n")


def normalise(text: str) -> str:
    """Numbers in one canonical form; other text case-folded and stripped of outer punctuation."""
    if text.strip() in _NOTHING_IN:
        return text.strip()
    bare = text.replace("\N{MINUS SIGN}", "-").strip(_OUTER + " \t").rstrip(_OUTER + ". \t")
    number = _NUMBER.fullmatch(bare)
    if number is None or not (number[2] or number[3]):
        spaced = " ".join(bare.lstrip(".").casefold().split())
        return " ".join(re.sub(r" ?, ?", ", ", spaced).split())
    whole = number[2].replace(",", "").lstrip("0") or "0"
    part = (number[3] or "").rstrip("0")
    size = f"{whole}.{part}" if part else whole
    return f"-{size}" if number[1] == "-" and size != "0" else size
