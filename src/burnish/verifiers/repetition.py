"""The repetition reward: the share of different n-grams, 1 - seq-rep-n of Welleck et al. 2019.

    score = different n-grams / n-grams          (1908.04319)

An n-gram is of words, punctuation marks, and single characters of scripts that set no blanks
between words. A word of more than 20 letters is read letter by letter too, so that "aaaa..." is
many of the same and not one word.
"""

import re
from dataclasses import dataclass

from burnish.config import require
from burnish.types import Problem, Verdict
from burnish.verifiers.seen import seen

_UNBLANKED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Burmese, Khmer, kana and Han."""
_LETTER = rf"[^\W_{_UNBLANKED}]"
_UNIT = re.compile(rf"(?<!{_LETTER}){_LETTER}{{1,20}}(?!{_LETTER})|\S")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """The share of different n-grams among all of the completion; an empty one scores 0."""

    n: int = 4
    """Units of an n-gram; raising it forgives idioms and lists, and sees longer loops only."""
    pass_at: float = 0.5
    """The least score that passes."""

    def __post_init__(self) -> None:
        require(self.n >= 1, "n must be at least 1")
        require(0 < self.pass_at <= 1, "pass_at must be in (0, 1]")

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """By the completion alone; one shorter than `n` repeats nothing."""
        units = [unit.casefold() for unit in _UNIT.findall(seen(completion))]
        if not units:
            return Verdict(score=0.0, passed=False, why="empty", judge="repetition")
        grams = [tuple(units[i : i + self.n]) for i in range(len(units) - self.n + 1)]
        different = len(set(grams))
        score = different / len(grams) if grams else 1.0
        why = f"{different} of {len(grams)} {self.n}-grams differ" if different < len(grams) else ""
        return Verdict(score=score, passed=score >= self.pass_at, why=why, judge="repetition")
