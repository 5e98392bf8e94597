"""Rewards made of rewards: weighted sums, all of several at once, safety before help, one a task.

What is scored stays visible: each part's score stands in the verdict under the part's name, and the
parts of parts as `name.part`. A completion that one part cannot score is not scored at all: a sum
without one of its terms would be compared with whole ones of the same group.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from burnish.config import require
from burnish.pipeline.artifact import RewardModelRef
from burnish.types import Problem, Verdict
from burnish.verifiers.format import Format
from burnish.verifiers.judge_reward import JudgeReward
from burnish.verifiers.language import Language
from burnish.verifiers.length import CosineLength, Length
from burnish.verifiers.repetition import Repetition
from burnish.verifiers.user_function import UserFunction
from burnish.verifiers.verify import verify_problem

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemVerifier:
    """The verifier that each problem names by its task, or else the exact answer."""

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        return verify_problem(problem, completion)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelReward:
    """A trained reward model's normalised score."""

    model: RewardModelRef


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A reward and what it counts."""

    reward: "Reward"
    weight: float = 1.0
    """May be negative, a penalty, or 0: shown, and without effect."""

    def __post_init__(self) -> None:
        require(abs(self.weight) < float("inf"), "weight must be finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedSum:
    """The sum of weight x score over the parts; the weights need not add up to 1."""

    parts: dict[str, Part]
    """By names that metrics and the report show."""

    def __post_init__(self) -> None:
        _require_names(self.parts)

    def combined(self, verdicts: Mapping[str, Verdict]) -> Verdict:
        """Of one verdict a part."""
        parts, missing = _parts(verdicts)
        if missing:
            return Verdict(score=None, parts=parts, why=missing, judge="weighted_sum")
        total = sum(part.weight * parts[name] for name, part in self.parts.items())
        return Verdict(score=total, parts=parts, why=_whys(verdicts), judge="weighted_sum")


@dataclass(frozen=True, kw_only=True, slots=True)
class AllOf:
    """1 where every part passes, else 0."""

    parts: dict[str, "Reward"]
    pass_at: float = 0.5
    """The least score that passes, for parts that only grade, such as a reward model."""

    def __post_init__(self) -> None:
        _require_names(self.parts)

    def combined(self, verdicts: Mapping[str, Verdict]) -> Verdict:
        """Of one verdict a part."""
        parts, missing = _parts(verdicts)
        if missing:
            return Verdict(score=None, parts=parts, why=missing, judge="all_of")
        passed = all(
            parts[name] >= self.pass_at if v.passed is None else v.passed
            for name, v in verdicts.items()
        )
        return Verdict(
            score=float(passed), passed=passed, parts=parts, why=_whys(verdicts), judge="all_of"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyFirst:
    """One reward or the other, as Llama 2 joins its two reward models (2307.09288, section 3.2.3).

        R = safety   where the problem is tagged or sigmoid(safety) < threshold
        R = helpful  elsewhere

    Scores are read as logits, which is what reward models give: the paper's sigmoid, and the logit
    that undoes it, are left out but for the threshold. `whiten_scores` of the stage does the rest.
    """

    safety: "Reward"
    helpful: "Reward"
    threshold: float = 0.15
    """Of the probability that an answer is safe; raising it lets safety decide more often."""
    tag: str = "safety"
    """Name of the field in a problem's `meta` that is true where the prompt is about safety."""

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, "threshold must be in [0, 1]")
        require(bool(self.tag), "tag must name a field of meta")

    def combined(self, verdicts: Mapping[str, Verdict], problem: Problem) -> Verdict:
        """Of verdicts `safety` and `helpful`; the part `by_safety` is 1 where safety decides."""
        parts, missing = _parts(verdicts)
        if missing:
            return Verdict(score=None, parts=parts, why=missing, judge="safety_first")
        tagged = json.loads(problem.meta).get(self.tag) is True
        safe = 1 / (1 + math.exp(-max(min(parts["safety"], 700.0), -700.0)))
        name = "safety" if tagged or safe < self.threshold else "helpful"
        parts["by_safety"] = float(name == "safety")
        return Verdict(
            score=parts[name], parts=parts, why=_whys(verdicts), judge=f"safety_first: {name}"
        )

    @property
    def parts(self) -> "dict[str, Reward]":
        """Both, by name."""
        return {"safety": self.safety, "helpful": self.helpful}


@dataclass(frozen=True, kw_only=True, slots=True)
class ByTask:
    """For each kind of problem a reward of its own, as DeepSeek-R1 rewards reasoning by rules and
    general prompts by a reward model in one run (2501.12948, section 3).

    Every reward is computed for every completion, and one counts.
    """

    tasks: dict[str, "Reward"]
    """By the task of the problem."""
    otherwise: "Reward | None" = None
    """Of every other task; without it, completions for them are unscored."""

    def __post_init__(self) -> None:
        _require_names(self.tasks, "tasks")
        require(
            self.otherwise is None or "otherwise" not in self.tasks,
            "tasks: `otherwise` is the name of the reward for all others",
        )

    def combined(self, verdicts: Mapping[str, Verdict], problem: Problem) -> Verdict:
        """Of one verdict a reward: that of the problem's task."""
        name = problem.task if problem.task in self.tasks else "otherwise"
        if name not in verdicts:
            why = f"no reward for problems of the task {problem.task!r}"
            return Verdict(score=None, why=why, judge="by_task")
        parts, missing = _parts({name: verdicts[name]})
        if missing:
            return Verdict(score=None, parts=parts, why=missing, judge="by_task")
        own = verdicts[name]
        return Verdict(
            score=own.score, passed=own.passed, parts=parts, why=own.why, judge=f"by_task: {name}"
        )

    @property
    def parts(self) -> "dict[str, Reward]":
        """All, by name."""
        return self.tasks | ({} if self.otherwise is None else {"otherwise": self.otherwise})


Checked: TypeAlias = ProblemVerifier | Format | Length | CosineLength | Repetition | Language
"""Rewards that are plain functions of a problem and a completion."""
Leaf: TypeAlias = Checked | UserFunction | ModelReward | JudgeReward
Reward: TypeAlias = (
    ProblemVerifier
    | WeightedSum
    | AllOf
    | SafetyFirst
    | ByTask
    | Format
    | Length
    | CosineLength
    | Repetition
    | Language
    | UserFunction
    | ModelReward
    | JudgeReward
)


def leaves(reward: Reward, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """The rewards that are not made of others, with their dotted names ("" for a lone one)."""
    match reward:
        case WeightedSum():
            for name, part in reward.parts.items():
                yield from leaves(part.reward, _join(prefix, name))
        case AllOf() | SafetyFirst() | ByTask():
            for name, below in reward.parts.items():
                yield from leaves(below, _join(prefix, name))
        case _:
            yield prefix, reward


def assemble(
    reward: Reward, verdicts: Mapping[str, Verdict], problem: Problem, prefix: str = ""
) -> Verdict:
    """The reward's verdict on one completion from those of its leaves, by dotted name."""
    match reward:
        case WeightedSum():
            parts = {n: part.reward for n, part in reward.parts.items()}
            return reward.combined(_below(parts, verdicts, problem, prefix))
        case AllOf():
            return reward.combined(_below(reward.parts, verdicts, problem, prefix))
        case SafetyFirst() | ByTask():
            return reward.combined(_below(reward.parts, verdicts, problem, prefix), problem)
        case _:
            return verdicts[prefix]


def check(reward: Reward, problem: Problem, completion: str) -> Verdict:
    """The verdict of a reward all of whose leaves are plain functions of a completion."""
    verdicts = {}
    for name, leaf in leaves(reward):
        match leaf:
            case UserFunction() | ModelReward() | JudgeReward():
                raise TypeError(f"{type(leaf).__name__} needs a scorer: it is no plain function")
            case (
                ProblemVerifier() | Format() | Length() | CosineLength() | Repetition() | Language()
            ):
                verdicts[name] = leaf(problem, completion)
            case _:
                assert_never(leaf)
    return assemble(reward, verdicts, problem)


def _below(
    parts: Mapping[str, Reward], verdicts: Mapping[str, Verdict], problem: Problem, prefix: str
) -> dict[str, Verdict]:
    return {n: assemble(below, verdicts, problem, _join(prefix, n)) for n, below in parts.items()}


def _parts(verdicts: Mapping[str, Verdict]) -> tuple[dict[str, float], str]:
    """Scores by name, those of parts of parts too; and why there is none, if so."""
    parts: dict[str, float] = {}
    missing = []
    for name, verdict in verdicts.items():
        if verdict.score is None:
            missing.append(f"{name} is unscored: {verdict.why}")
        else:
            parts[name] = verdict.score
        parts |= {_join(name, below): score for below, score in verdict.parts.items()}
    return parts, "; ".join(missing)


def _whys(verdicts: Mapping[str, Verdict]) -> str:
    return "; ".join(f"{name}: {v.why}" for name, v in verdicts.items() if v.why)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _require_names(parts: Mapping[str, object], field: str = "parts") -> None:
    require(bool(parts), f"{field} must name at least one reward")
    for name in parts:
        require(
            _NAME.fullmatch(name) is not None,
            f"{field}: {name!r} must be 1 to 40 of a-z, 0-9 and _, as metrics are named after it",
        )
