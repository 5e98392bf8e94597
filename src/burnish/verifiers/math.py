"""Mathematics in MATH's convention: the answer is what stands in `\\boxed{...}`, in LaTeX.

`Answer: ...` and "the answer is ..." count too; all that are stated must equal the reference. Equal
are the same text after normalisation, the same rational number (exactly; see
`burnish.verifiers.quantities`), or, where the reference is no plain number, expressions that
math-verify finds equivalent.

Stricter than math-verify alone, against answers that leave the work to the verifier: where the
question is known, a plain number must be given as one (not `37 \\cdot 43` for 1591), and an
expression that the question itself contains is no answer to it, unless it is the reference as it
stands.
"""

import re

from burnish.types import Problem, Verdict
from burnish.verifiers import units
from burnish.verifiers.intervals import as_intervals
from burnish.verifiers.latex import canonical, ending_unit, plain, spelled
from burnish.verifiers.math_forms import (
    NAMED,
    listed,
    mismatched,
    num_answers,
    parts,
    ratios_differ,
    same_base,
)
from burnish.verifiers.math_process import equivalent
from burnish.verifiers.quantities import MAX_TEXT, Quantity, hidden, literal, same
from burnish.verifiers.statements import Statement, boxes, find_statements

JUDGE = "math"
_PERCENT = re.compile(r"\\?%|per\s?cent", re.IGNORECASE)
_INLINE = re.compile(r"(?<!\\)\$([^$]+)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_WORDS = re.compile(r"[a-z]{2,}(?:[ -]?[a-z]+)*|\(?[a-z]\)?", re.IGNORECASE | re.ASCII)
_UNSURE = re.compile(
    r"\b(?:or|either|not|no|none|never|neither|nor|maybe|perhaps|possibly|might|could|wrong|except|"
    r"(?:any|every)thing but|all but|none of)\b|"
    r"n['’]t\b|\?|≠|≈",
    re.IGNORECASE,
)
_SPACED = re.compile(r"(?<![_^\d])\d+(?:\s|\\[,;: ]|\\q?quad)+(?=\d)|\\q?quad(?![a-zA-Z])")
_CUT = re.compile(r"\\[lc]?dots(?![a-zA-Z])|…|\.\.\.")
_MIXED = re.compile(r"-?\s?\d+\s+\d+\s?/\s?\d+")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORK = re.compile(r"[+*×·⋅÷,;']|(?<=[\w)}!])\s*-|(?<![a-zA-Z])[a-df-zA-DF-Z](?![a-zA-Z])|\d_")
_MEMBER = re.compile(r"^[a-zA-Z]\s*(?:\\in(?![a-zA-Z])|∈)\s*")
_BASE = re.compile(r"\bbase\b|\bbinary\b", re.IGNORECASE)


def verify_math_problem(problem: Problem, completion: str) -> Verdict:
    """The problem's reference; without one it cannot be scored."""
    if not problem.answer.strip():
        return Verdict(score=None, why="the problem has no reference answer", judge=JUDGE)
    return verify_math(completion, problem.answer, problem.prompt.text)


def verify_math(completion: str, reference: str, prompt: str = "") -> Verdict:
    """Passed when everything stated as the answer equals the reference; score 1 or 0.

    reference: the answer in LaTeX, or a whole solution, of which the last box counts. prompt: what
    it says itself is no answer.
    """
    expected = math_reference(reference)
    number = literal(expected)
    given = _answers(find_statements(completion, ("mark", "boxed", "phrase"), prompt))
    if not given:
        return _failed("no answer is stated: no \\boxed, `Answer:` or `the answer is`")
    num = num_answers(expected) or 0
    if number is None and len(set(given)) == len(given) == num > 1:
        given = [", ".join(given)]  # one box a part, as in: x is \boxed{1} or \boxed{2}
    if number is None:
        given = [_listed(text, expected, prompt) for text in given]
    for text in dict.fromkeys(given):
        why = _differs(text, expected, number, prompt)
        if why:
            return _failed(why)
    return Verdict(score=1.0, passed=True, judge=JUDGE)


def math_reference(reference: str) -> str:
    """The answer of a solution: its last box, or all of it where it has none."""
    boxed = [content for _, _, content in boxes(reference)]
    return boxed[-1] if boxed else reference.strip()


def _answers(statements: list[Statement]) -> list[str]:
    """The stated expressions; phrases only where they are numbers, or where there is no mark."""
    marked = [s for s in statements if s.form != "phrase"]
    phrases = [s for s in statements if s.form == "phrase"]
    if marked:
        phrases = [s for s in phrases if literal(_expression(s.value)) is not None]
    return [_expression(s.value) for s in sorted([*marked, *phrases], key=lambda s: s.start)]


def _expression(text: str) -> str:
    """Of a sentence with one formula, the formula, unless the words doubt it."""
    if len(text) > MAX_TEXT:
        return text
    boxed = [content for _, _, content in boxes(text)]
    if boxed and not _UNSURE.search(text):
        return boxed[0] if len(set(boxed)) == 1 else ", ".join(boxed)
    found = [m[1] or m[2] or m[3] for m in _INLINE.finditer(text)]
    if len(found) == 1 and not _UNSURE.search(_INLINE.sub("", text)):
        return str(found[0]).strip()
    bare = text.strip().strip("*_` ")
    return bare.rstrip(".") if not bare.endswith("...") else bare


def _differs(text: str, expected: str, number: Quantity | None, prompt: str) -> str:
    """Why an answer is not the reference; "" where it is."""
    short = repr(text if len(text) <= 40 else text[:40] + "…")
    failed = f"answered {short}, expected {expected[:40]!r}"
    if _MIXED.fullmatch(text.strip()):  # 1 3/4: without the space it would be 13/4
        found = literal(text)
        fits = found is not None and number is not None and same(found, number)
        return "" if fits else failed
    if len(text) > MAX_TEXT:
        return f"{short} is too long for an answer"
    if _unlike(text, expected, prompt):
        return failed
    bare, wanted = canonical(text), canonical(expected)
    if bare == wanted != "":
        return ""
    if number is not None:
        found = literal(text) or _chain(bare)
        percent = _PERCENT.search(prompt) is not None
        if found is not None and same(found, number, asked_percent=percent):
            return ""
        if found is not None or prompt.strip() or _left_to_do(text):
            return failed
    elif _WORDS.fullmatch(plain(expected)):
        return "" if _word(text) == _word(expected) else failed
    if len(bare) > 1 and bare in canonical(prompt):
        return f"{short} is the question's own expression"
    return _unequal(text, expected, failed)


def _unlike(text: str, expected: str, prompt: str) -> bool:
    """Whether the form alone tells that an answer is not the reference, whatever its value."""
    left, right = spelled(text), spelled(expected)
    named = [m[0].replace(" ", "") for m in map(NAMED.match, (left, right)) if m]
    unit, wanted = ending_unit(text), ending_unit(expected)
    return (
        not text
        or hidden(text)
        or _SPACED.search(left) is not None
        or (_CUT.search(text) is not None and not _CUT.search(expected))
        or len(set(named)) > 1
        or not same_base(left, right, asked=_BASE.search(prompt) is not None)
        or ratios_differ(left, right)
        or (units.differ(unit, wanted) if wanted else not units.fits(unit, prompt))
    )


def _unequal(text: str, expected: str, failed: str) -> str:
    """`failed`, where expressions are not equal, or one lists more answers than the other."""
    left, right = (_MEMBER.sub("", spelled(side)) for side in (text, expected))
    ranges = as_intervals(left), as_intervals(right)
    if bool(ranges[0]) != bool(ranges[1]):
        left, right = ranges[0] or left, ranges[1] or right
    elif _UNSURE.search(plain(text)) and not _UNSURE.search(plain(expected)):
        return failed
    if mismatched(NAMED.sub("", left), NAMED.sub("", right)):
        return failed
    sides = [left] if "=" in right else NAMED.sub("", left).split("=")
    for side in sides:
        equal, why = equivalent(right, side.strip())
        if not equal:
            return f"{failed}: {why}" if why else failed
    return ""


def _listed(text: str, expected: str, prompt: str) -> str:
    return listed(text, expected, prompt) if len(text) <= MAX_TEXT else text


def _chain(bare: str) -> Quantity | None:
    """The number at the end of `x=37*43=1591`, where no other side is a number but that one."""
    *sides, last = bare.split("=") if len(parts(bare)) == 1 else [bare]
    found = literal(last)
    others = {q for q in map(literal, sides) if q is not None}
    return found if sides and others <= {found} else None


def _left_to_do(text: str) -> bool:
    """Whether sums, products, letters or primes are left in what should be a number."""
    return _WORK.search(_COMMAND.sub(" ", plain(NAMED.sub("", spelled(text))))) is not None


def _word(text: str) -> str:
    return " ".join(plain(text).casefold().strip("() .").split())


def _failed(why: str) -> Verdict:
    return Verdict(score=0.0, passed=False, why=why, judge=JUDGE)
