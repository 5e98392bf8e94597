"""Format rewards: the completion has the structure that was asked for, whatever it says.

DeepSeek-R1 (2501.12948v1, section 2.2.2) rewards thoughts between `<think>` tags beside the right
answer. The whole completion is looked at, so that a format within other text, said twice or left
empty earns nothing.
"""

from dataclasses import dataclass

import regex  # type: ignore[import-untyped]

from burnish.config import require
from burnish.types import Problem, Verdict
from burnish.verifiers.seen import seen

MATCH_S = 1.0
"""A pattern that has not decided by then is given up: some never end on some texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """1 where the whole completion has one form, else 0: tags, a last line, or a pattern."""

    tags: tuple[str, ...] = ()
    """Sections in this order, `<think>...</think><answer>...</answer>` for [think, answer]: each
    once, none empty, and nothing but blanks outside of them."""
    last_line: str = ""
    """How the last line begins, such as `Answer:`; once only, and something must follow."""
    pattern: str = ""
    """A regular expression that the whole completion matches; `.` matches line ends too."""

    def __post_init__(self) -> None:
        given = sum(map(bool, (self.tags, self.last_line, self.pattern)))
        require(given == 1, "give one of tags, last_line and pattern")
        require(len(set(self.tags)) == len(self.tags), "tags must differ from one another")
        require(all(t.isidentifier() for t in self.tags), "tags must be plain words, without <>")
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            require(False, f"pattern is not a regular expression ({error})")

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """Passed or not; unscored only where a pattern takes more than a second."""
        if self.tags:
            why = _wrong_tags(completion, self.tags)
        elif self.last_line:
            why = _wrong_last_line(completion, self.last_line)
        else:
            try:
                found = regex.fullmatch(self.pattern, completion, regex.DOTALL, timeout=MATCH_S)
            except TimeoutError:
                why = f"the pattern had not decided after {MATCH_S:g} s"
                return Verdict(score=None, why=why, judge="format")
            why = "" if found else "does not match the pattern"
        return Verdict(score=float(not why), passed=not why, why=why, judge="format")


def _wrong_tags(text: str, tags: tuple[str, ...]) -> str:
    """What is wrong with the sections ("" for nothing)."""
    for mark in (mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>")):
        if text.count(mark) != 1:
            return f"{mark} occurs {text.count(mark)} times"
    rest = text
    for tag in tags:
        before, _, rest = rest.partition(f"<{tag}>")
        inside, closed, rest = rest.partition(f"</{tag}>")
        if before.strip():
            return f"text before <{tag}>"
        if not closed or not seen(inside).strip():
            return f"<{tag}> is empty or closed before it is opened"
    return "text after the last section" if rest.strip() else ""


def _wrong_last_line(text: str, mark: str) -> str:
    """What is wrong with the last line ("" for nothing)."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(mark)]
    if len(marked) != 1:
        return f"{len(marked)} lines begin with {mark!r}"
    if lines[-1] != marked[0]:
        return f"the line {mark!r} is not the last"
    return "" if seen(marked[0].removeprefix(mark)).strip() else f"nothing follows {mark!r}"
