"""The rubric for everyday instructions: a gold reward made of checks that anyone can read.

    gold = weighted mean of: constraints met, a complete ending, a fitting length, words of the
    question taken up, no repetition, no filler or placeholders         each in [0, 1]

Giving the question back counts as neither taking its words up nor answering it.

It stands in for people: because it is known exactly, over-optimisation of a learnt reward can be
seen. Training never reads it directly, only through noisy comparisons.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from burnish.errors import DataError
from burnish.types import Problem, Verdict

Constraint: TypeAlias = Mapping[str, str | int]

WEIGHTS: Mapping[str, float] = {
    "constraints": 2.0,
    "complete": 2.0,
    "length": 3.0,
    "on_topic": 2.0,
    "varied": 1.0,
    "direct": 1.0,
}
TOO_SHORT, SHORT, LONG, TOO_LONG = 10, 22, 32, 48
"""Words: full marks from SHORT to LONG, falling to none at TOO_SHORT and at TOO_LONG. A prompt that
sets a length of its own is judged by that instead. The band lies around the median of what a small
model writes, so that neither the shorter nor the longer answer is simply the better one."""
_OWN_LENGTH = frozenset({"max_words", "min_words", "sentences", "list"})

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_FILLER = re.compile(
    r"^\W*(sure|certainly|of course|absolutely|great question|as an ai|i'd be happy|i am an ai)\b",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\[[^\]\n]{2,40}\]|<[^>\n]{2,40}>|^#+ |\*\*", re.MULTILINE)
_COMMON = frozenset(
    """
    a about above after all also am an and any are as at be because been before but by can could
    did do does dont each for from get give had has have he help her him his how i if in into is
    it its ive just keep let like make me more most my need no not of off on one only or other our
    out please should so some tell than that the their them then there these they this to two up
    use using want was we were what when where which while who why will with without word words
    would write you your sentence sentences answer reply exactly start line lines end list short
    explain describe name suggest mention include avoid under fewer three
    """.split()  # noqa: SIM905
)


def verify_everyday_problem(problem: Problem, completion: str) -> Verdict:
    """The rubric, with the constraints that the problem's `meta` holds.

    Raises:
        DataError: they are not such as the rubric knows.
    """
    try:
        constraints = json.loads(problem.meta).get("constraints", [])
        return verify_everyday(completion, problem.prompt.last_user, constraints)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"problem {problem.prompt.last_user[:40]!r}: `meta` must be JSON of constraints "
            f"that the rubric knows ({type(error).__name__}: {error})"
        ) from error


def verify_everyday(completion: str, prompt: str, constraints: Sequence[Constraint]) -> Verdict:
    """The gold reward in [0, 1] and its parts; a grade, so `passed` stays None. Empty scores 0."""
    words = [w.casefold() for w in _WORD.findall(completion)]
    if not words:
        return Verdict(score=0.0, why="empty", judge="rubric")
    met = [check(completion, constraint) for constraint in constraints]
    own = _own(words, _words(prompt))
    sized = any(constraint["kind"] in _OWN_LENGTH for constraint in constraints)
    parts = {
        "constraints": sum(met) / len(met) if met else 1.0,
        "complete": float(_complete(completion)),
        "length": 1.0 if sized else _length(len(words)),
        "on_topic": _on_topic(words, prompt) if own else 0.0,
        "varied": _varied(words),
        "direct": float(
            own and not _FILLER.search(completion) and not _PLACEHOLDER.search(completion)
        ),
    }
    total = sum(WEIGHTS[name] * value for name, value in parts.items()) / sum(WEIGHTS.values())
    missed = [str(c["kind"]) for c, ok in zip(constraints, met, strict=True) if not ok]
    why = f"constraints not met: {', '.join(missed)}" if missed else ""
    return Verdict(score=total, parts=parts, why=why, judge="rubric")


def check(completion: str, constraint: Constraint) -> bool:
    """Whether one constraint is met. Raises: KeyError for an unknown kind."""
    return _CHECKS[str(constraint["kind"])](completion.strip(), constraint)


def _words(text: str) -> list[str]:
    return [w.casefold() for w in _WORD.findall(text)]


def _number(constraint: Constraint) -> int:
    return int(constraint["n"])


def _sentences(text: str) -> int:
    return len([s for s in re.split(r"(?<=[.!?])[\"')\]]*\s+", text.strip()) if _WORD.search(s)])


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _is_list(text: str, constraint: Constraint) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) == _number(constraint) and all(line.startswith("- ") for line in lines)


_CHECKS: Mapping[str, Callable[[str, Constraint], bool]] = {
    "max_words": lambda text, c: len(_words(text)) <= _number(c),
    "min_words": lambda text, c: len(_words(text)) >= _number(c),
    "sentences": lambda text, c: _sentences(text) == _number(c),
    "include": lambda text, c: _has_word(text, str(c["word"])),
    "avoid": lambda text, c: not _has_word(text, str(c["word"])),
    "list": _is_list,
    "lowercase": lambda text, c: text == text.lower(),
    "no_commas": lambda text, c: "," not in text,
    "end_with": lambda text, c: text.endswith(str(c["text"])),
    "question": lambda text, c: text.rstrip("\"')").endswith("?"),
}
KINDS = frozenset(_CHECKS)


def _complete(text: str) -> bool:
    return text.rstrip().rstrip("\"'”’)*").endswith((".", "!", "?"))


def _length(num_words: int) -> float:
    rising = (num_words - TOO_SHORT) / (SHORT - TOO_SHORT)
    falling = (TOO_LONG - num_words) / (TOO_LONG - LONG)
    return max(0.0, min(1.0, rising, falling))


def _on_topic(words: Sequence[str], prompt: str) -> float:
    """Share of up to two of the prompt's own content words that the answer takes up."""
    asked = {_stem(w) for w in _words(prompt)} - {_stem(w) for w in _COMMON}
    if not asked:
        return 1.0
    return min(len(asked & {_stem(w) for w in words}) / min(len(asked), 2), 1.0)


def _own(words: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether at least half of the answer's word pairs are not simply the prompt's."""
    pairs, given = list(pairwise(words)), set(pairwise(asked))
    return not pairs or 2 * sum(pair not in given for pair in pairs) >= len(pairs)


def _stem(word: str) -> str:
    return word[:5] if len(word) > 5 else word.removesuffix("s")


def _varied(words: Sequence[str]) -> float:
    """Share of distinct word pairs."""
    pairs = list(pairwise(words))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
