"""Multiple choice: one letter, stated once or several times alike.

A completion may state its letter as `Answer: B`, `\\boxed{B}` or "the answer is (B)", or be nothing
but the letter. The option's own text may follow; where the prompt lists the options (`B) Paris`,
`(B) Paris`, `B. Paris`), it must be that option's. Its text without the letter is no answer.
"""

import re
from collections.abc import Mapping

from burnish.errors import DataError
from burnish.types import Problem, Verdict
from burnish.verifiers.latex import plain
from burnish.verifiers.quantities import MAX_TEXT, visible
from burnish.verifiers.statements import after_thinking, find_statements, squeezed

JUDGE = "choice"
_REFERENCE = re.compile(r"\(?([A-Za-z])\)?\.?")
_OPTION = re.compile(r"^[ \t>*-]{0,8}\(?([A-Z])[).:][ \t]+(\S.*)$", re.MULTILINE)
_ALONE = re.compile(r"\W*([A-Z])\W*", re.ASCII)
_LETTER = re.compile(
    r"(?:the\s+)?(?:option|choice|letter)?\s*[(\[]?\s?(?P<letter>[A-Za-z])\s?(?P<mark>[)\].:,;]*)"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_OTHERS = re.compile(
    r"[(\[][A-Z][)\]]|(?:\b(?i:or|and|nor|not|also|option|choice)|[,/&|+;])"
    r"\s{0,4}[(\[]?[A-Z]\b(?![’'])|^\W*[A-Z]\b(?:\W+[A-Z]\b)*\W*$|"
    r"\b(?:either|both|all of|none of)\b|"
    r"\b(?i:but|possibly|maybe|perhaps|otherwise|else)\s{1,4}[(\[]?[A-HJ-Z]\b(?![’'])"
)
_HEDGE = r"\b(?:or|otherwise|possibly|maybe|perhaps|else|namely|i\.e\.)\W{1,4}(?:the )?"
"""Before another option's text."""


def verify_choice_problem(problem: Problem, completion: str) -> Verdict:
    """The problem's letter; without one it cannot be scored.

    Raises:
        DataError: the reference is not a letter.
    """
    if not problem.answer.strip():
        return Verdict(score=None, why="the problem has no reference answer", judge=JUDGE)
    return verify_choice(completion, problem.answer, problem.prompt.text)


def verify_choice(completion: str, reference: str, prompt: str = "") -> Verdict:
    """Passed when every stated letter is the reference's; score 1 or 0.

    Raises:
        DataError: the reference is not a letter.
    """
    match = _REFERENCE.fullmatch(reference.strip())
    if match is None:
        raise DataError(f"choice: the reference {reference[:40]!r} is not one letter, such as B")
    expected = match[1].upper()
    options = {m[1]: squeezed(m[2]).rstrip(" .*") for m in _OPTION.finditer(prompt)}
    statements = find_statements(completion, ("mark", "boxed", "phrase"), prompt)
    given: list[tuple[str, str]] = []
    for statement in statements:
        letter = _letter(statement.value, options, capital=statement.form == "phrase")
        if letter or statement.form != "phrase":
            given.append((statement.value, letter))
    rest = after_thinking(completion)[:MAX_TEXT]
    alone = _ALONE.fullmatch(rest) if not given else None
    if alone is not None and visible(rest):
        given = [(alone[0].strip(), alone[1])]
    elif not given and visible(rest):
        given = _option_alone(rest, options)
    if not given:
        return _failed("no letter is stated: no `Answer:`, \\boxed or `the answer is`")
    for text, letter in given:
        if letter != expected:
            what = f"answered {letter}" if letter else f"{text[:40]!r} is not one letter"
            return _failed(f"{what}, expected {expected}")
    return Verdict(score=1.0, passed=True, judge=JUDGE)


def _option_alone(text: str, options: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of a completion that is one of the options as the prompt lists it, its letter."""
    match = _OPTION.fullmatch(text.strip().replace("*", ""))
    if match is None or options.get(match[1]) != squeezed(match[2]).rstrip(" ."):
        return []
    return [(text.strip(), match[1])]


def _letter(text: str, options: Mapping[str, str], *, capital: bool) -> str:
    """The one letter that a statement names, else ""; `capital` where `a` would be an article."""
    if len(text) > MAX_TEXT or not visible(text):
        return ""
    match = _LETTER.fullmatch(plain(text).strip("\"'“”"))
    if match is None or (capital and match["letter"].islower() and ")" not in match["mark"]):
        return ""
    letter, rest = match["letter"].upper(), match["rest"].strip(" \t*_")
    if not rest:
        return letter
    said = squeezed(rest).lstrip("-–—:. (").rstrip(" .*)")
    if letter in options and said == options[letter]:
        return letter
    if not match["mark"] and not rest.startswith(("-", "–", "—", "\n")):
        return ""
    for option in (option for other, option in options.items() if other != letter and option):
        if said == option or re.search(rf"{_HEDGE}{re.escape(option)}(?!\w)", squeezed(rest)):
            return ""
    return "" if _OTHERS.search(match["mark"] + rest) else letter


def _failed(why: str) -> Verdict:
    return Verdict(score=0.0, passed=False, why=why, judge=JUDGE)
