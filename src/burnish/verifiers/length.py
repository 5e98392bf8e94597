"""Length rewards: a band of lengths, and the cosine that rewards short right answers.

Lengths are those of the text, in words or characters. Limits in tokens are the sampler's: what a
completion that runs into one costs is `shaping` of the RL stage.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from burnish.config import require
from burnish.types import Problem, Verdict
from burnish.verifiers.seen import seen
from burnish.verifiers.verify import verify_problem

Unit: TypeAlias = Literal["words", "characters"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """1 from `low` to `high`, falling in a straight line to 0 at `slack` outside; empty is 0."""

    low: int
    high: int
    slack: int = 0
    """0: nothing outside of the band."""
    unit: Unit = "words"
    """Words are what stands between blanks; take characters for languages without them."""
    pass_at: float = 0.5
    """The least score that passes."""

    def __post_init__(self) -> None:
        require(1 <= self.low <= self.high, "low must be at least 1, and high at least low")
        require(self.slack >= 0, "slack must be at least 0")
        require(0 < self.pass_at <= 1, "pass_at must be in (0, 1]")

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """By the completion alone."""
        size = length(completion, self.unit)
        outside = max(self.low - size, size - self.high, 0)
        within = 1.0 if outside == 0 else max(1 - outside / self.slack, 0.0) if self.slack else 0.0
        score = within if size else 0.0
        why = "" if outside == 0 else f"{size} {self.unit}, wanted {self.low} to {self.high}"
        return Verdict(score=score, passed=score >= self.pass_at, why=why, judge="length")


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineLength:
    """Right answers earn more the shorter they are, wrong ones less (Yeo et al., 2502.03373).

        end + (start - end) (1 + cos(pi length / max_length)) / 2

    from `start` at length 0 to `end` at `max_length`, and `exceeded` from there on. Right and wrong
    is what the problem's own verifier says. The paper's values are 2 to 1 (right), -10 to 0 (wrong)
    and -10 (exceeded), of tokens; here they lie in [0, 1].
    """

    max_length: int
    right_start: float = 1.0
    right_end: float = 0.5
    wrong_start: float = 0.0
    wrong_end: float = 0.2
    """Above `wrong_start`: where the answer is wrong, going on thinking costs less."""
    exceeded: float = 0.0
    unit: Unit = "words"
    pass_at: float = 0.5
    """The least score that passes."""

    def __post_init__(self) -> None:
        require(self.max_length >= 1, "max_length must be at least 1")
        values = (self.right_start, self.right_end, self.wrong_start, self.wrong_end, self.exceeded)
        require(all(0 <= v <= 1 for v in values), "right_, wrong_ and exceeded must be from 0 to 1")
        require(0 < self.pass_at <= 1, "pass_at must be in (0, 1]")

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """Unscored where the problem's verifier does not say whether it is right."""
        verdict = verify_problem(problem, completion)
        if verdict.passed is None:
            why = verdict.why or "the problem's verifier grades, it tells no right from wrong"
            return Verdict(score=None, why=why, judge="cosine_length")
        size = length(completion, self.unit)
        start, end = (
            (self.right_start, self.right_end)
            if verdict.passed
            else (self.wrong_start, self.wrong_end)
        )
        share = (1 + math.cos(math.pi * size / self.max_length)) / 2
        score = self.exceeded if size >= self.max_length else end + (start - end) * share
        return Verdict(
            score=score,
            passed=score >= self.pass_at,
            parts={"right": float(verdict.passed)},
            why=f"{size} {self.unit}" + (f"; {verdict.why}" if verdict.why else ""),
            judge="cosine_length",
        )


def length(text: str, unit: Unit) -> int:
    """Of what can be seen, without blanks around the text, and with runs of them as one."""
    match unit:
        case "words":
            return len(seen(text).split())
        case "characters":
            return len(" ".join(seen(text).split()))
        case _:
            assert_never(unit)
