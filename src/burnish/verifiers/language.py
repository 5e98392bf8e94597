"""The language reward: the share of a completion that is in the language asked for.

DeepSeek-R1 (2501.12948v1, section 2.3.2) rewards the share of target-language words in a chain of
thought, because models begin to mix languages. Here the share is of letters. A letter of another
script than the language's counts against it; letters of its script are judged with their sentence
by langdetect, under a fixed seed. Sentences too short to tell (under 24 letters, such as
`Answer: seven`) go by their script alone, and a text without letters is in any language.

langdetect knows 55 languages, confuses near relatives (Danish and Norwegian, Serbian it has not),
and takes formulas and code for languages: set `pass_at` and weights with that in mind.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.config import require, suggest
from burnish.types import Problem, Verdict
from burnish.verifiers.seen import seen

TELLING = 24
"""Letters from which on langdetect is asked; below, it guesses."""
SEED = 0
_PIECE = re.compile(r"[^.!?\n。！？]+[.!?\n。！？]*")
_LATIN = """
    af ca cs cy da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl so sq sv sw tl tr vi
""".split()  # noqa: SIM905
SCRIPTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_LATIN, frozenset({"LATIN"})),
    **dict.fromkeys(("bg", "mk", "ru", "uk"), frozenset({"CYRILLIC"})),
    **dict.fromkeys(("ar", "fa", "ur"), frozenset({"ARABIC"})),
    **dict.fromkeys(("hi", "mr", "ne"), frozenset({"DEVANAGARI"})),
    "bn": frozenset({"BENGALI"}),
    "el": frozenset({"GREEK"}),
    "gu": frozenset({"GUJARATI"}),
    "he": frozenset({"HEBREW"}),
    "ja": frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    "kn": frozenset({"KANNADA"}),
    "ko": frozenset({"HANGUL", "CJK"}),
    "ml": frozenset({"MALAYALAM"}),
    "pa": frozenset({"GURMUKHI"}),
    "ta": frozenset({"TAMIL"}),
    "te": frozenset({"TELUGU"}),
    "th": frozenset({"THAI"}),
    "zh": frozenset({"CJK"}),
}
"""Languages by their two letters -> how the Unicode names of their letters begin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """The share of the completion's letters that are in the language; empty scores 0."""

    target: str = ""
    """Two letters, such as `en`; "": that of the prompt's last user turn."""
    pass_at: float = 0.5
    """The least score that passes."""

    def __post_init__(self) -> None:
        known = self.target in SCRIPTS or not self.target
        require(known, f"target is {self.target!r}; {suggest(self.target, SCRIPTS)}")
        require(0 < self.pass_at <= 1, "pass_at must be in (0, 1]")

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """Unscored where the prompt is too short to tell its language and `target` is not set."""
        target = self.target or detect(problem.prompt.last_user)
        if not target:
            why = "the prompt is too short to tell its language: set target"
            return Verdict(score=None, why=why, judge="language")
        if not seen(completion).strip():
            return Verdict(score=0.0, passed=False, why="empty", judge="language")
        right, letters = _count(completion, target)
        score = right / letters if letters else 1.0
        why = f"{right} of {letters} letters are {target}" if right < letters else ""
        return Verdict(score=score, passed=score >= self.pass_at, why=why, judge="language")


def detect(text: str) -> str:
    """The language of a text; "" where it has too few letters, or none that langdetect knows."""
    letters = sum(c.isalpha() for c in text)
    return _detected(text) if letters >= TELLING or (letters and _tells_itself(text)) else ""


def _count(text: str, target: str) -> tuple[int, int]:
    """Letters in the language, and all letters."""
    scripts = SCRIPTS[target]
    right = total = 0
    for piece in _pieces(text):
        letters = sum(c.isalpha() for c in piece)
        own = "".join(c if not c.isalpha() or _script(c) in scripts else " " for c in piece)
        fitting = sum(c.isalpha() for c in own)
        total += letters
        if fitting and (fitting < TELLING or _detected(own) in (target, "")):
            right += fitting
    return right, total


def _pieces(text: str) -> Iterator[str]:
    """Sentences and lines, short ones with those that follow."""
    held = ""
    for found in _PIECE.finditer(text):
        held += found[0]
        if sum(c.isalpha() for c in held) >= TELLING:
            yield held
            held = ""
    if held:
        yield held


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """How its Unicode name begins: LATIN, CJK, HIRAGANA, ..."""
    words = unicodedata.name(letter, "?").split()
    return words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") else words[0]


def _tells_itself(text: str) -> bool:
    """Whether the script alone tells the language, or nearly."""
    scripts = {_script(c) for c in text if c.isalpha()}
    return not scripts & {"LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI"}


@functools.lru_cache(maxsize=4096)
def _detected(text: str) -> str:
    """langdetect's likeliest language; "" where it finds nothing to go by."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    detector.append(text)
    try:
        found = str(detector.detect())
    except LangDetectException:
        return ""
    return "" if found == "unknown" else found.partition("-")[0]


@functools.cache
def _factory() -> Any:
    """A factory of our own, so that the seed is ours too; loading its profiles takes a while."""
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(SEED)
    return factory
