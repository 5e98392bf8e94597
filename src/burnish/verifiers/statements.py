"""The final answers that a completion states, and which of them count.

A statement is explicit: an `Answer:` line, GSM8K's `#### 42`, `\\boxed{42}`, or "the answer is 42".
Verifiers judge all that are left after these, which are no statements of the completion's own:

- text up to the last `</think>` is working;
- a mark that is only mentioned (`End with "Answer:"`), and the prompt's own text given back;
- what is taken back: followed by another statement after words such as "wait" or "no", or by words
  that call it wrong.

Those left must all agree, so that neither a list of guesses nor two answers pass. To take an answer
back gains nothing either: one is left to be judged. All searches take time linear in the text.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

Form = Literal["mark", "block", "hashes", "boxed", "phrase"]
"""A block is a mark's answer of several lines: a grid, a board, a list of moves."""

_MARKED: frozenset[Form] = frozenset({"mark", "block"})
_MARK = re.compile(r"answer[*_]{0,3}\s{0,8}[:：][*_]{0,3}", re.IGNORECASE)
_HASHES = re.compile(r"^[ \t>*]{0,8}####[ \t]*(?=[-+$€£¥\\*.]*\d)(?!\d+[.):][ \t]+[A-Za-z])", re.M)
_PHRASE = re.compile(r"\banswer(?: to [^.:\n]{1,80})?[ \t]{1,4}is\b[*_]{0,3}[ \t]{0,4}:?", re.I)
_BRACES = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\[{}\\]|[{}]")
_BARE_BOX = re.compile(r"\\boxed\s{1,4}([^\s{}$\\]+)|\\boxed(\d)")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_LINE_END = re.compile(r"\r\n|[\n\r]")
_BARE_LINE = re.compile(
    r"(?:\r\n|\n|\r)[ \t]{0,8}((?=\S{0,80}\d)(?:\\[a-zA-Z]+|[-+$(){}\d.,/^_]){1,80}|\(?[A-Z]\)?)"
    r"[ \t]{0,8}(?=[\r\n]|$)"
)
"""A number or a letter alone on the line below an answer: a list that goes on."""
_EMPTY_LINE = re.compile(r"(?:\r\n|[\n\r]){2,}")
_LETTERS, _STOP = re.compile(r"[a-z]{2}"), re.compile(r"[.!?:]")
_QUOTES = "\"'“”‘’`«»"

_DOUBT = re.compile(
    r"\b(?:wait|hold on|hmm+|actually|on second thought|let me (?:re|double|check|verify|try|fix|"
    r"correct)|i (?:should|need to) (?:re|double|check|correct))",
    re.IGNORECASE,
)
_WITHDRAWN = re.compile(
    r"(?:^|[.!?,;\n]\s{0,8})no\s?[,.:;!]|\bscratch that\b|\boops\b|\bcorrection\b|"
    r"\b(?:made|is|was) an? (?:mistake|error)\b(?!-)|\b(?:isn|wasn)['’]t (?:right|correct)\b|"
    r"\b(?:this|that|it|which|above|answer)(?:['’]s| is| was| were)? "
    r"(?:not (?:right|correct)|wrong|incorrect)",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(
    r"^\W*(?:or\b|alternatively\b|maybe\b|perhaps\b|possibly\b|"
    r"(?:it|this|that) (?:could|might|may) (?:also )?be\b|but (?:it|maybe|perhaps)\b)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"^[ \t$*.,\\)}\]]{0,6}(?:(?:is|was|would be|must be|seems|looks) (?:wrong|incorrect|not\b|"
    r"false|impossible|too \w+|a (?:mistake|trap))|(?:isn|wasn|can)['’]t\b|(?:is|was|can)\s?not\b|"
    r"\\neq?\b|≠)",
    re.IGNORECASE,
)
"""Right behind a statement: \\boxed{5} is wrong."""
_WRONG_ONE = re.compile(
    r"\b(?:wrong|incorrect|false|not (?:the|an?|my))\s{1,4}(?:final\s)?\Z", re.I
)
"""Before a mark: a wrong answer: 17."""
_WRONG_BOX = re.compile(
    r"\b(?:(?:wrong|incorrect|tempting) (?:answer|result|value|guess)|"
    r"(?:common|typical|usual|frequent) (?:mistake|error)) (?:is|was|would be)"
    r"(?: to (?:say|answer|give))?[^\w.!?\n]{0,4}\Z",
    re.IGNORECASE,
)
"""Before a box: a common mistake is \\boxed{17}."""
_GLUED = re.compile(
    r"(?:[-\d^_/]|\\(?:sqrt|[dt]?frac|[bx]?cancel|sout|st)\s?\{)\Z|\\(?:ln|log|lnot|neg)\s{0,4}\Z|"
    r"(?:\\(?:neq?|not)|≠|\b(?:not|never)|n['’]t)[\s$*(\\\[]{0,4}\Z",
    re.IGNORECASE,
)
"""Before a box, what makes another answer of it: -\\boxed{5}, not \\boxed{5}."""
_SUFFIXED = re.compile(r"\s?\\?%|[\d^_/]|\s?(?:\\(?:cdot|times|div)(?![a-zA-Z])|\+)")
_RIVAL = re.compile(
    r"^\W*(?:wait|no|actually|hmm+|hold on|sorry|scratch that)\b[^\w\\$(-]{0,8}"
    r"(?:(?:is it|it is|it['’]s|that['’]s|it (?:should|must) be|make that|i mean)[^\w\\$(-]{1,4})?"
    r"((?=\S{0,60}\d)[^\s,;=+*?]{1,60}|\(?[A-J]\)?)\W*$",
    re.IGNORECASE,
)
"""A sentence that is a doubt and another number or letter: wait, 17?"""
_STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,200}?(?<=\S)~~")
"""Markdown's way to strike out; LaTeX's two fixed blanks have blanks or nothing beside them."""
_ECHO_CHARS = 24
"""So much text before a statement, found in the prompt together with it, makes it an echo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One stated answer; `start` and `end` are its place in the text, the mark included."""

    form: Form
    value: str
    start: int
    end: int


def find_statements(text: str, forms: Iterable[Form], prompt: str = "") -> list[Statement]:
    """The statements that count, in order; none where the last was taken back or never made."""
    text = after_thinking(text)
    found = sorted(_all(text, frozenset(forms)), key=lambda s: (s.start, s.end))
    given = squeezed(prompt)
    own = [
        s
        for s in _unstruck(found, text)
        if not _mentioned(s, text) and not (given and _echo(s, text, given))
    ]
    last = len(own) - 1
    own = [s for i, s in enumerate(own) if s.value or s.form not in _MARKED or i == last]
    return _standing(own, text)


def after_thinking(text: str) -> str:
    """What follows the reasoning block; nothing, where one is opened and never closed."""
    _, closed, rest = text.rpartition("</think>")
    return "" if "<think>" in rest else rest if closed else text


def boxes(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and content of every outermost closed `\\boxed{...}`, braces nested or not."""
    open_at: list[tuple[int, int] | None] = []
    boxed_depth = 0
    for match in _BRACES.finditer(text):
        token = match[0]
        if token in ("\\{", "\\}", "\\\\"):
            continue
        if token == "}":
            opened = open_at.pop() if open_at else None
            if opened is not None:
                boxed_depth -= 1
                if boxed_depth == 0:
                    yield opened[0], match.end(), text[opened[1] : match.start()].strip()
        else:
            is_box = token != "{"
            boxed_depth += is_box
            open_at.append((match.start(), match.end()) if is_box else None)
    for match in _BARE_BOX.finditer(text):
        yield match.start(), match.end(), match[1] or match[2]


def squeezed(text: str) -> str:
    """Case-folded, with runs of white space as one space: for finding text again."""
    return " ".join(text.casefold().split())


def _all(text: str, forms: frozenset[Form]) -> Iterator[Statement]:
    if not forms.isdisjoint(_MARKED):
        marks = list(_MARK.finditer(text))
        for match, after in zip_longest(marks, marks[1:]):
            bound = after.start() if after else len(text)
            start = match.end()
            while start < bound and text[start].isspace():
                start += 1
            if "block" in forms:
                end = _block_end(text, start, bound)
                yield _statement("block", text, match.start(), start, end)
                continue
            end = _line_end(text, start, bound)
            yield _statement("mark", text, match.start(), start, end)
            while below := _BARE_LINE.match(text, end, bound):
                yield _statement("mark", text, below.start(1), below.start(1), below.end(1))
                end = below.end()
    if "hashes" in forms:
        for match in _HASHES.finditer(text):
            end = _line_end(text, match.end(), len(text))
            yield _statement("hashes", text, match.start(), match.end(), end)
    if "phrase" in forms:
        for match in _PHRASE.finditer(text):
            stop = _SENTENCE_END.search(text, match.end())
            end = stop.start() if stop else len(text)
            yield _statement("phrase", text, match.start(), match.end(), end)
    if "boxed" in forms:
        for first, end, value in boxes(text):
            yield Statement(
                form="boxed", value=_whole(text, first, end, value), start=first, end=end
            )


def _whole(text: str, first: int, end: int, value: str) -> str:
    """A box's content, with the percent sign behind it; "" where what is around it changes it."""
    after = _SUFFIXED.match(text, end)
    if _GLUED.search(text[max(0, first - 16) : first]) or (after and "%" not in after[0]):
        return ""
    return f"{value}{after[0].strip()}" if after else value


def _statement(form: Form, text: str, mark: int, start: int, end: int) -> Statement:
    return Statement(form=form, value=text[start:end].strip(), start=mark, end=max(start, end))


def _line_end(text: str, start: int, bound: int) -> int:
    match = _LINE_END.search(text, start, bound)
    return match.start() if match else bound


def _block_end(text: str, start: int, bound: int) -> int:
    """The first empty line with a sentence below it. Another block belongs to it."""
    for match in _EMPTY_LINE.finditer(text, start, bound):
        line = text[match.end() : _line_end(text, match.end(), bound)]
        letters = _LETTERS.search(line)
        if letters and _STOP.search(line, letters.end()):
            return match.start()
    return bound


def _unstruck(found: list[Statement], text: str) -> list[Statement]:
    """Those that share no text with what is struck out."""
    struck = [match.span() for match in _STRUCK.finditer(text)]
    ends = [end for _, end in struck]

    def is_struck(statement: Statement) -> bool:
        i = bisect_right(ends, statement.start)
        return i < len(struck) and struck[i][0] < statement.end

    return [s for s in found if not is_struck(s)] if struck else found


def _mentioned(statement: Statement, text: str) -> bool:
    """Whether the mark is quoted by itself, as in: end with "Answer:" and the answer; or a wrong
    answer's."""
    before = text[max(0, statement.start - 24) : statement.start]
    if statement.form in (*_MARKED, "phrase") and _WRONG_ONE.search(before):
        return True
    before = text[max(0, statement.start - 48) : statement.start]
    if statement.form == "boxed" and _WRONG_BOX.search(before):
        return True
    first = statement.value[:1]
    quoted = statement.start > 0 and text[statement.start - 1] in _QUOTES
    return statement.form in _MARKED and quoted and first != "" and first in _QUOTES


def _echo(statement: Statement, text: str, given: str) -> bool:
    """Whether the prompt says this in the same words and surroundings, or it is quoted from it."""
    said = squeezed(text[statement.start : statement.end])
    if not said or said.rstrip(_QUOTES + ".") not in given:
        return False
    before = text[max(0, statement.start - 4 * _ECHO_CHARS) : statement.start]
    if before[-1:] in _QUOTES and before:
        return True
    context = squeezed(before)[-_ECHO_CHARS:].lstrip()
    return len(context) >= _ECHO_CHARS // 3 and any(
        joined in given for joined in (context + said, f"{context} {said}")
    )


def _standing(own: list[Statement], text: str) -> list[Statement]:
    """Without those that are taken back by the text between them, or after the last."""
    kept: list[Statement] = []
    for statement in own:
        if kept and statement.start >= kept[-1].end:
            between = text[kept[-1].end : statement.start]
            said = text[kept[-1].start : kept[-1].end]
            if any(
                doubt.search(part) for doubt in (_DOUBT, _WITHDRAWN) for part in (said, between)
            ):
                kept = []
        kept.append(statement)
    if not kept:
        return []
    last = max(kept, key=lambda s: s.end)
    tail = text[last.end :]
    sentences = _SENTENCE_END.split(tail)
    if (
        _WITHDRAWN.search(text, last.start)
        or _DENIED.match(tail)
        or any(_ALTERNATIVE.match(s) or _rivals(s, last.value) for s in sentences)
    ):
        return []
    return kept


def _rivals(sentence: str, value: str) -> bool:
    match = _RIVAL.match(sentence)
    return match is not None and match[1].strip(".,/") not in value
