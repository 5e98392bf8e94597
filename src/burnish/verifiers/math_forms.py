"""How answers of several parts are written: lists, sets, tuples, and the names before them.

A list must not pass for one answer, nor a set for an ordered pair. math-verify is lenient in both:
it takes the last of a list, and reads braces and parentheses alike.
"""

import re

_BOTH = re.compile(r"\\text\s?\{\s?(?:or|and)\s?\}|(?<![\\\w])(?:or|and)(?!\w)")
_NAME = r"\\?[a-zA-Z]+(?:_(?:\w|\{\w+\}))?(?:\([a-zA-Z]\))?"
NAMED = re.compile(rf"^({_NAME})\s*=")
_NAMES = re.compile(rf"^\(\s*({_NAME}(?:\s*,\s*{_NAME})+)\s*\)\s*=(?!=)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|\{,\}")
_BASE = re.compile(r"\d_\s?(?:\{\s?(\w+)\s?\}|(\w))")
_WHOLE = re.compile(r"\s*\d{1,30}\s*", re.ASCII)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def parts(text: str) -> list[str]:
    """What commas and semicolons outside all brackets separate."""
    found, depth = [""], 0
    for char in text:
        depth += (char in _CLOSING) - (char in _CLOSING.values())
        if char in ",;" and depth == 0 and not found[-1].endswith("\\"):
            found.append("")
        else:
            found[-1] += char
    return found


def num_answers(text: str) -> int | None:
    """How many are listed, in brackets or not; None where a sign such as ± hides how many."""
    if re.search(r"\\[pm][pm](?![a-zA-Z])|±|∓", text):
        return None
    inner = text.strip()
    while kind(inner) != "bare":
        inner = re.sub(r"^\\?.|\\?.$", "", inner).strip()
    return len(_answers(inner))


def _answers(text: str) -> list[str]:
    sides = (side for part in parts(_THOUSANDS.sub("", text)) for side in _BOTH.split(part))
    return [side.strip() for side in sides if side.strip()]


def kind(text: str) -> str:
    r"""What is around it all: set for `\{...\}`, pair for `(...)`, brackets, braces or bare."""
    bare = text.strip()
    opening = bare[: 2 if bare.startswith("\\{") else 1]
    if opening not in ("\\{", *_CLOSING) or not bare.endswith(tuple(")]}")):
        return "bare"
    depth = 0
    for i, char in enumerate(bare[:-1]):
        depth += (char in _CLOSING) - (char in _CLOSING.values())
        if depth == 0 and i >= len(opening) - 1:
            return "bare"
    return {"\\{": "set", "(": "pair", "[": "brackets", "{": "braces"}[opening]


def mismatched(given: str, expected: str) -> bool:
    """Whether one is a list of more answers than the other, or one a set and one a pair."""
    counts = num_answers(given), num_answers(expected)
    if None not in counts and counts[0] != counts[1]:
        return True
    return {_order(given), _order(expected)} == {"set", "pair"} and counts != (1, 1)


def _order(text: str) -> str:
    r"""The kind, which of a set of one pair, `\{(1, 2)\}`, is the pair's."""
    inner = re.sub(r"^\\{|\\}$", "", text.strip()).strip()
    return kind(inner) if kind(text) == "set" and kind(inner) != "bare" else kind(text)


def same_base(given: str, expected: str, *, asked: bool) -> bool:
    """Whether numbers with a base, `10_2`, have the same; left out only where it was asked for."""
    bases, wanted = ([m[1] or m[2] for m in _BASE.finditer(t)] for t in (given, expected))
    return bases == wanted or (asked and not bases)


def ratios_differ(given: str, expected: str) -> bool:
    """Whether the reference is a ratio of three or more, `1:2:3`, and the answer is not the same.

    As quotients, 1:2:3 and 1:3:2 would be equal.
    """
    wanted = expected.split(":")
    if len(wanted) < 3 or not all(map(_WHOLE.fullmatch, wanted)):
        return False
    found = given.split(":")
    if len(found) != len(wanted) or not all(map(_WHOLE.fullmatch, found)):
        return True
    return any(
        int(a) * int(wanted[0]) != int(b) * int(found[0])
        for a, b in zip(found, wanted, strict=True)
    )


def listed(text: str, expected: str, prompt: str = "") -> str:
    """The answers without names: `x = 1 or x = 2` as `1, 2`, `(x, y) = (1, 2)` as `(1, 2)`.

    `x = 1, y = 2` is `(1, 2)` where a pair is expected. Pairs are in the order of their names, or
    in that of the prompt.
    """
    if "=" in expected:
        return text
    whole = _NAMES.match(text)
    if whole is not None:
        ordered = _ordered(re.split(r"\s*,\s*", whole[1]), prompt)
        return text[whole.end() :].strip() if ordered else text
    num = num_answers(expected)
    sides = _answers(text)
    if num is None or num < 2 or len(sides) != num:
        return text
    named = [NAMED.match(side) for side in sides]
    names = [match[1] for match in named if match]
    values = ", ".join(NAMED.sub("", side).strip() for side in sides)
    if kind(expected) == "pair":
        distinct = len(set(names)) == num and _ordered(names, prompt)
        return f"({values})" if distinct else text
    same = len({name.partition("_")[0] for name in names}) < 2
    return values if same and kind(text) == "bare" else text


def _ordered(names: list[str], prompt: str) -> bool:
    return names == sorted(names) or f"({','.join(names)})" in "".join(prompt.split())
