"""LaTeX and Markdown around an answer: taken off, or brought to one spelling.

`plain` is for reading numbers, `canonical` for comparing expressions as text. Neither understands
mathematics; both only ever shorten, and take time linear in the text.
"""

import re
from collections.abc import Sequence

_TEXT = r"\\(?:text(?:bf|it|rm|normal|sf)?|mathrm|mathbf|mathit|mbox|boldsymbol|operatorname\*?)"
_INNER = re.compile(_TEXT + r"\s?\{([^{}]*)\}")
_END_TEXT = re.compile(r"(?:\\[ ,;:!]|[~\s])?" + _TEXT + r"\s?\{([^{}]*)\}(?:\^\{?[23]\}?)?$")
_END_WORD = re.compile(r"(?<=\d)\s?([a-zA-Z]{2,})$")
_SHORT = {"m": "meters", "g": "grams", "s": "seconds", "h": "hours", "l": "liters", "L": "liters"}
"""Units of one letter, which elsewhere is a variable."""
_FRAC = re.compile(r"\\[dtc]?frac\s?(?:\{\s?(-?\d+)\s?\}|(\d))\s?(?:\{\s?(\d+)\s?\}|(\d))(?![\d{])")
_Steps = Sequence[tuple[re.Pattern[str], str]]


def _steps(*pairs: tuple[str, str]) -> _Steps:
    return [(re.compile(pattern), new) for pattern, new in pairs]


_GROUPS = re.compile(r"(?<![\w.,^_])(?<![\d.,] )\d{1,3}(?: \d{3})+(?![\w.,]?\d|\s?/| \d)")
"""1 234 567: groups of three, and no other digits near them."""

_SPELLING = _steps(
    (r"\\(?:boxed|fbox)(?![a-zA-Z])", ""),
    (r"[−﹣]", "-"),
    (r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", ""),
    (r"[\u00a0\u2000-\u200a\u202f\u3000]", " "),
    (r"\\(?:left|right|displaystyle|bigl?|bigr|Bigl?|Bigr)(?![a-zA-Z])", ""),
    (r"\\!", ""),
    (r"\\varnothing(?![a-zA-Z])|^\s*\\\{\s*\\\}\s*$", r"\\emptyset"),
    (r"√\s?(?:(\d+|[a-zA-Z])|\(([^()]*)\))", r"\\sqrt{\1\2}"),
    (r"(?<=[a-zA-Z)])²", "^2"),
    (r"(?<=[a-zA-Z)])³", "^3"),
    (r"\{,\}", ","),
    (r"(?<=\d)\\,(?=\d{3}(?!\d))", ""),
    (r"\^\s?\{?\s?\\circ\s?\}?|\\degrees?(?![a-zA-Z])|°", " degrees "),
)
_PLAIN = _steps(
    (r"(?<!\\)\\(?:[,;: ]|q?quad(?![a-zA-Z]))|~", " "),
    (r"\\[()\[\]]", " "),
    (r"\\(?:times|cdot|ast)(?![a-zA-Z])", "*"),
    (r"\\div(?![a-zA-Z])", "/"),
    (r"\\(?:neq?|not)(?![a-zA-Z])", "≠"),
    (r"\\(?:leq?|lt|leqslant)(?![a-zA-Z])", "≤"),
    (r"\\(?:geq?|gt|geqslant)(?![a-zA-Z])", "≥"),
    (r"\\pm(?![a-zA-Z])", "±"),
    (r"\\approx(?![a-zA-Z])", "≈"),
    (r"\\%", "%"),
    (r"(?<=\w)\\?\$", " "),
    (r"\\?\$", ""),
    (r"\*\*|__|`", ""),
    (r"(?<=\d)[ ]?(?=\\[dtc]?frac)", " "),
)
_CANONICAL = _steps(
    (r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", "\\1\x1f"),  # a command's name ends at this space
    (r"(?<!\\)\\(?:[,;: ]|q?quad(?![a-zA-Z]))|[~ \t\r\n]", ""),
    (r"\x1f", " "),
    (r"\\[()\[\]]|\\?\$", ""),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\(?:neq|not=)(?![a-zA-Z])", r"\\ne"),
    (r"\\(leq|geq)slant(?![a-zA-Z])", r"\\\1"),
    (r"\\(le|ge)q(?![a-zA-Z])", r"\\\1"),
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"\\sqrt(\d)", r"\\sqrt{\1}"),
    (r"degrees", ""),
    (r"\\%", "%"),
    (r"(?<=\d),(?=\d{3}(?!\d))(?=\d{3}$)", ""),
)


def plain(text: str) -> str:
    """Text in which numbers stand as in prose: fractions as a/b, no dollar signs, no emphasis."""
    text = _apply(_PLAIN, _INNER.sub(r" \1 ", _spelling(text)))
    return _FRAC.sub(lambda m: f"{m[1] or m[2]}/{m[3] or m[4]}", text).strip(" \t\r\n*_")


def canonical(text: str) -> str:
    """One spelling of an expression, without spaces and units' text; words case-folded."""
    words = _INNER.sub(lambda m: m[1].casefold(), spelled(text))
    return _apply(_CANONICAL, words)


def spelled(text: str) -> str:
    """The expression as it was written, without what only changes its look, and without units."""
    return without_units(_spelling(text.strip().strip("*_` ").rstrip(".,; ")))


def without_units(text: str) -> str:
    r"""The text less a `\text{...}` that follows something and is neither a choice nor a denial."""
    match = _END_TEXT.search(text)
    if (
        match is None
        or match.start() == 0
        or re.search(r"\d|\b(?:or|and|not?|wrong|maybe|false)\b", match[1])
    ):
        return text
    return text[: match.start()]


def ending_unit(text: str) -> str:
    r"""The name of a unit at the end, `cm` of `5\text{ cm}` and of `5 cm`; "" without one."""
    bare = text.strip().rstrip(".")
    match = _END_TEXT.search(bare) or _END_WORD.search(bare)
    unit = match[1].strip() if match and match.start() else ""
    return _SHORT.get(unit, unit)


def _spelling(text: str) -> str:
    return _GROUPS.sub(lambda m: m[0].replace(" ", ""), _apply(_SPELLING, text))


def _apply(steps: _Steps, text: str) -> str:
    for pattern, new in steps:
        text = pattern.sub(new, text)
    return text
