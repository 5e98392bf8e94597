"""Annotation: completions become Comparisons, by anyone who can say which of two is better."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from burnish import rng
from burnish.config import require
from burnish.data.store import Sampled, read_completions, write_comparisons
from burnish.errors import DataError
from burnish.pipeline.artifact import CalibrationRef, CompletionsRef
from burnish.pipeline.stage import Context
from burnish.stages.calibrate_judge import num_questions
from burnish.stages.judging import (
    asking,
    calibration_path,
    calibration_text,
    check_trust,
    judge_of,
    open_chat,
    tally_usage,
)
from burnish.types import Comparison, Problem, Winner, mean
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge import Pairwise, Pointwise, Shown
from burnish.verifiers.judge_reward import LocalModel, Trust, require_calibration
from burnish.verifiers.likelihood_judge import PairwiseLikelihood, PointwiseLikelihood
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Two completions of a problem, a to be shown first; chance, if any, follows `key`."""

    problem: Problem
    a: str
    b: str
    key: int


class Annotator(Protocol):
    """A person, an AI judge, a reward model or a program."""

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Winner | None]]:
        """Who annotated, which is recorded with every comparison; and the better one of each,
        None where that could not be told."""


@dataclass(frozen=True, kw_only=True)
class RubricAnnotator:
    """The problem's own rubric, with the noise of a Bradley-Terry annotator.

    P(a wins) = sigmoid((gold(a) - gold(b)) / temperature), and equal gold is a tie. Raising the
    temperature makes it err more often; the gold reward stays known, so what training makes of the
    noise can be measured.
    """

    temperature: float = 0.05

    def __post_init__(self) -> None:
        require(self.temperature > 0, "temperature must be above 0")

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Winner | None]]:
        """By the gold reward."""
        name = f"rubric(temperature={self.temperature})"
        return name, [self.compare(task.problem, task.a, task.b, task.key) for task in tasks]

    def compare(self, problem: Problem, a: str, b: str, key: int) -> Winner:
        """Which completion is better; without a gold reward, they are equal."""
        gap = (_gold(problem, a) or 0.0) - (_gold(problem, b) or 0.0)
        if gap == 0:
            return "tie"
        wins = 1 / (1 + math.exp(-max(min(gap / self.temperature, 700), -700)))
        return "a" if rng.stream(key, "annotator").random() < wins else "b"


@dataclass(frozen=True, kw_only=True)
class JudgeAnnotator:
    """An AI judge that was calibrated: it is asked in both orders, and disagreement is a tie."""

    by: Endpoint | LocalModel
    """Who answers."""
    judge: Pairwise | Pointwise | PairwiseLikelihood | PointwiseLikelihood = Pairwise()
    calibration: CalibrationRef | None = None
    """Of exactly this judge, by a calibrate_judge stage."""
    calibration_file: str = ""
    """What `burnish calibrate-judge` wrote, where no stage calibrates."""
    trust: Trust = Trust()

    def __post_init__(self) -> None:
        require_calibration(self.by, self.calibration, self.calibration_file)

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Winner | None]]:
        """By what the judge says.

        Raises:
            ConfigError: it is not calibrated, or not well enough.
        """
        chat = open_chat(ctx, self.by)
        judge = judge_of(self.judge, chat)
        identity = judge.identity
        path = calibration_path(ctx, self.calibration, self.calibration_file)
        check_trust(path, identity, self.trust)
        shown = [Shown(prompt=t.problem.prompt, a=t.a, b=t.b, key=t.key) for t in tasks]
        on_answer = asking(ctx, len(tasks) * num_questions(self.judge))
        judged = judge.compare_all(shown, on_answer=on_answer)
        split = sum(j.winner is not None and not j.consistent for j in judged)
        ctx.count("pairs whose verdict hangs on the order: ties", split, len(judged))
        tally_usage(ctx, chat, self.by)
        name = f"judge({identity.kind}, {identity.model}, {identity.id})"
        return name, [j.winner for j in judged]


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Completions -> comparisons."""

    outputs: ClassVar[Mapping[str, str]] = {"comparisons": "comparisons"}

    completions: CompletionsRef
    annotator: RubricAnnotator | JudgeAnnotator = RubricAnnotator()
    pairs_per_problem: int = 4
    """Drawn at random from all pairs of a problem's completions with different texts."""

    def __post_init__(self) -> None:
        require(self.pairs_per_problem >= 1, "pairs_per_problem must be at least 1")

    def fingerprint(self) -> str:
        """Of a calibration that is no artifact."""
        if not isinstance(self.annotator, JudgeAnnotator):
            return ""
        return calibration_text(self.annotator.calibration_file)

    def run(self, ctx: Context) -> None:
        groups: dict[str, list[Sampled]] = {}
        for item in read_completions(ctx.input(self.completions)):
            groups.setdefault(item.problem.id, []).append(item)
        tasks: list[Task] = []
        same, possible = 0, 0
        for problem_id, group in groups.items():
            pairs = list(itertools.combinations(group, 2))
            distinct = [(x, y) for x, y in pairs if x.text.strip() != y.text.strip()]
            possible += len(pairs)
            same += len(pairs) - len(distinct)
            order = rng.stream(ctx.seed, "pairs", problem_id).permutation(len(distinct))
            tasks += [_task(ctx.seed, *distinct[i]) for i in order[: self.pairs_per_problem]]
        name, winners = self.annotator.annotate(ctx, tasks)
        made = [
            (
                task,
                Comparison(
                    prompt=task.problem.prompt, a=task.a, b=task.b, winner=w, annotator=name
                ),
            )
            for task, w in zip(tasks, winners, strict=True)
            if w is not None
        ]
        ctx.count("pairs of equal completions passed over", same, possible)
        if unread := len(tasks) - len(made):
            ctx.count("pairs without a readable verdict left out", unread, len(tasks))
        if tasks and not made:
            raise DataError(f"none of {len(tasks)} pairs has a readable verdict by {name}")
        write_comparisons(ctx.output("comparisons"), [comparison for _, comparison in made])
        upsets = [upset for task, c in made if (upset := _upset(task, c.winner)) is not None]
        if upsets:
            ctx.tally("share of comparisons against the gold order", mean(upsets))
        ctx.write_samples(
            {"prompt": c.prompt.last_user, "a": c.a, "b": c.b, "winner": c.winner}
            for _, c in made[:12]
        )


def _task(seed: int, x: Sampled, y: Sampled) -> Task:
    """Shown in a random order."""
    key = rng.key(seed, "compare", x.problem.id, x.index, y.index)
    a, b = (x, y) if rng.stream(key, "shown").random() < 0.5 else (y, x)
    return Task(problem=x.problem, a=a.text, b=b.text, key=key)


def _upset(task: Task, winner: Winner) -> float | None:
    """1.0 if the gold reward says otherwise; None where there is no gold reward."""
    a, b = _gold(task.problem, task.a), _gold(task.problem, task.b)
    if a is None or b is None:
        return None
    return float(a != b and winner != "tie" and (a > b) != (winner == "a"))


def _gold(problem: Problem, text: str) -> float | None:
    return verify_problem(problem, text).score
