"""Inequalities as intervals: `1 \\le x < 2` is `[1, 2)`, and `x < 1 \\text{ or } x > 2` a union.

Only the form is read. Whether the ends are equal is for whoever compares.
"""

import re

_IS = re.compile(r"\\(?:leqslant|leq|le|lt|geqslant|geq|ge|gt)(?![a-zA-Z])|<=|>=|≤|≥|⩽|⩾|<|>")
_OPEN = frozenset({"<", ">", "\\lt", "\\gt"})
_NAME = re.compile(r"[a-zA-Z](?:_(?:\d|\{\d+\}))?|\\(?:theta|alpha|beta|lambda)")
_UNION = re.compile(r"\\text\s?\{\s?or\s?\}|(?<![\\\w])or(?!\w)|\\(?:cup|lor|vee)(?![a-zA-Z])|∪|∨")
_SET = re.compile(r"\\\{\s?([a-zA-Z])\s?(?::|\||\\mid(?![a-zA-Z]))(.+)\\\}")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_INFINITE = re.compile(r"[-+]?\s?(?:\\infty|∞)")


def as_intervals(text: str) -> str:
    """The union of intervals that inequalities of one variable say, in LaTeX; "" for other text."""
    inner = _SET.fullmatch(text.strip())
    parts = [_interval(part) for part in _UNION.split(inner[2] if inner else text)]
    names = {name for name, _ in parts} | ({inner[1]} if inner else set())
    if len(names) != 1 or "" in names:
        return ""
    return " \\cup ".join(interval for _, interval in parts)


def _interval(text: str) -> tuple[str, str]:
    """The variable, and the interval; "" twice for what is no inequality."""
    signs = _IS.findall(text)
    sides = [side.strip() for side in _IS.split(text)]
    falls = {sign[:2] in (">", ">=", "≥", "⩾", "\\g") for sign in signs}
    if len(falls) != 1 or not all(sides):
        return "", ""
    if falls == {True}:
        signs, sides = signs[::-1], sides[::-1]
    closed = [sign not in _OPEN for sign in signs]
    match sides:
        case [low, name, high] if _NAME.fullmatch(name):
            below, above = closed
        case [name, high] if _NAME.fullmatch(name):
            low, below, above = "-\\infty", False, closed[0]
        case [low, name] if _NAME.fullmatch(name):
            high, below, above = "\\infty", closed[0], False
        case _:
            return "", ""
    ends = _COMMAND.sub("", low + high)
    if name in ends or "," in ends:
        return "", ""
    left = "[" if below and not _INFINITE.fullmatch(low) else "("
    right = "]" if above and not _INFINITE.fullmatch(high) else ")"
    return name, f"{left}{low}, {high}{right}"
