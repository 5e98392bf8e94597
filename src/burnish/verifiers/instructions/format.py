"""Marks that a program can find: bullets, titles, placeholders, sections, JSON.

Where the published patterns would take quadratic time on hostile text, the same matches are found
line by line.
"""

import json
import re

from burnish.verifiers.instructions.args import Args, Check

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""What `constrained_response` may answer."""
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
"""The character after the star may be a newline, so `*` alone takes in the line below it."""
_DASH_BULLET = re.compile(r"^[^\S\n]*-", re.MULTILINE)
_STARRED = re.compile(r"\*[^\n*]*\*")
_DOUBLE_STARRED = re.compile(r"\*\*[^\n*]*\*\*")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
_FENCES = ("```json", "```Json", "```JSON", "```")


def number_placeholders(args: Args) -> Check:
    """At least so many `[...]`, each within one line."""
    least = args.count("num_placeholders")
    return lambda text: sum(map(_brackets, text.split("\n"))) >= least


def _brackets(line: str) -> int:
    number = end = 0
    while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
        number += 1
    return number


def postscript(args: Args) -> Check:
    """The marker of a postscript appears, anywhere, in either case; `P. S.` counts as `P.S.`."""
    marker = args.text("postscript_marker")
    pattern = args.pattern(_POSTSCRIPTS.get(marker, marker.lower()), name="postscript_marker")
    return lambda text: pattern.search(text.lower()) is not None


def number_bullet_lists(args: Args) -> Check:
    """Exactly so many lines that begin with `*` or `-`; a line of `**bold**` is none."""
    number = args.count("num_bullets")

    def follows(text: str) -> bool:
        stars = sum(1 for _ in _STAR_BULLET.finditer(text))
        return stars + sum(1 for _ in _DASH_BULLET.finditer(text)) == number

    return follows


def constrained_response(args: Args) -> Check:
    """One of the three options appears."""
    del args
    return lambda text: any(option in text for option in OPTIONS)


def number_highlighted_sections(args: Args) -> Check:
    """At least so many `*...*` and `**...**` with something between the stars."""
    least = args.count("num_highlights")

    def follows(text: str) -> bool:
        single = sum(bool(m.group().strip("*").strip()) for m in _STARRED.finditer(text))
        double = sum(bool(m.group()[2:-2].strip()) for m in _DOUBLE_STARRED.finditer(text))
        return single + double >= least

    return follows


def multiple_sections(args: Args) -> Check:
    """At least so many of the section's mark followed by a number, such as `SECTION 2`."""
    least, mark = args.count("num_sections"), args.text("section_spliter")
    try:
        pattern = re.compile(rf"\s?{mark}\s?\d+\s?")
    except re.error as error:
        raise args.wrong("section_spliter", "a regular expression, such as words are") from error
    return lambda text: sum(1 for _ in pattern.finditer(text)) >= least


def json_format(args: Args) -> Check:
    """The whole text is JSON, bare or in a code fence; a lone number or string is JSON too."""
    del args
    return _is_json


def _is_json(text: str) -> bool:
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(args: Args) -> Check:
    """`<<...>>` within one line, with something inside."""
    del args
    return lambda text: any(map(_has_title, text.split("\n")))


def _has_title(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    return 0 <= start < end and bool(line[start : end + 2].lstrip("<").rstrip(">").strip())
