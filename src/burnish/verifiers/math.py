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
from burnish.verifiers.latex import canonical, plain, spelled
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
_BOTH = re.compile(r"\\text\s?\{\s?(?:or|and)\s?\}|(?<![\\\w])(?:or|and)(?!\w)")
_NAMED = re.compile(r"^\\?[a-zA-Z]+(?:\([a-zA-Z]\))?\s*=")


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
    parts = _parts(expected)
    if number is None and len(set(given)) == len(given) == len(parts) > 1:
        given = [", ".join(given)]  # one box a part, as in: x is \boxed{1} or \boxed{2}
    if number is None and len(parts) > 1:
        given = [_listed(text, len(parts)) for text in given]
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
    return text.strip().strip("*_` ").rstrip(".")


def _differs(text: str, expected: str, number: Quantity | None, prompt: str) -> str:
    """Why an answer is not the reference; "" where it is."""
    if _MIXED.fullmatch(text.strip()):  # 1 3/4: without the space it would be 13/4
        found = literal(text)
        fits = found is not None and number is not None and same(found, number)
        return "" if fits else f"answered {text!r}, expected {expected[:40]!r}"
    short = repr(text if len(text) <= 40 else text[:40] + "…")
    failed = f"answered {short}, expected {expected[:40]!r}"
    if len(text) > MAX_TEXT:
        return f"{short} is too long for an answer"
    if not text or hidden(text) or _SPACED.search(spelled(text)):
        return failed
    if _CUT.search(text) and not _CUT.search(expected):
        return failed
    named = [m[0].replace(" ", "") for m in map(_NAMED.match, map(spelled, (text, expected))) if m]
    if len(set(named)) > 1:
        return failed
    bare, wanted = canonical(text), canonical(expected)
    if bare == wanted != "":
        return ""
    if number is not None:
        found = literal(text) or _chain(bare)
        percent = _PERCENT.search(prompt) is not None
        if found is not None and same(found, number, asked_percent=percent):
            return ""
        if found is not None or prompt.strip() or "_" in bare:  # 10_2: the base would be lost
            return failed
    elif _WORDS.fullmatch(plain(expected)):
        return "" if _word(text) == _word(expected) else failed
    if _UNSURE.search(plain(text)) and not _UNSURE.search(plain(expected)):
        return failed
    if len(bare) > 1 and bare in canonical(prompt):
        return f"{short} is the question's own expression"
    sides = [spelled(text)]
    if "=" not in expected:
        sides = _NAMED.sub("", sides[0]).split("=")
    for side in sides:
        equal, why = equivalent(spelled(expected), side.strip())
        if not equal:
            return f"{failed}: {why}" if why else failed
    return ""


def _chain(bare: str) -> Quantity | None:
    """The number at the end of `x=37*43=1591`, where no other side is a number but that one."""
    *sides, last = bare.split("=")
    found = literal(last)
    others = {q for q in map(literal, sides) if q is not None}
    return found if sides and others <= {found} else None


def _parts(text: str) -> list[str]:
    """What commas outside all brackets separate."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _listed(text: str, num: int) -> str:
    """`x = 1 or x = 2` as `1, 2`, where the reference has as many parts."""
    sides = [part.strip() for part in _BOTH.split(text)]
    if len(sides) != num or not all(sides):
        return text
    return ", ".join(_NAMED.sub("", side).strip() for side in sides)


def _word(text: str) -> str:
    return " ".join(plain(text).casefold().strip("() .").split())


def _failed(why: str) -> Verdict:
    return Verdict(score=0.0, passed=False, why=why, judge=JUDGE)
