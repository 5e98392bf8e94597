"""Annotation: completions become Comparisons, by anyone who can say which of two is better."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_completions, write_comparisons
from burnish.engine.reward_model import open_reward_model
from burnish.errors import DataError
from burnish.models.load import Precision
from burnish.pipeline.artifact import CalibrationRef, CompletionsRef, RewardModelRef
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
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

    a: Sampled
    b: Sampled
    key: int

    @property
    def problem(self) -> Problem:
        return self.a.problem


@dataclass(frozen=True, slots=True)
class Choice:
    """The better one of two, and by how much, where that is measured."""

    winner: Winner
    margin: float | None = None


class Annotator(Protocol):
    """A person, an AI judge, a reward model or a program."""

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Choice | None]]:
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

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Choice | None]]:
        """By the gold reward."""
        name = f"rubric(temperature={self.temperature})"
        return name, [Choice(self.compare(t.problem, t.a.text, t.b.text, t.key)) for t in tasks]

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

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Choice | None]]:
        """By what the judge says.

        Raises:
            ConfigError: it is not calibrated, or not well enough.
        """
        chat = open_chat(ctx, self.by)
        judge = judge_of(self.judge, chat)
        identity = judge.identity
        path = calibration_path(ctx, self.calibration, self.calibration_file)
        check_trust(path, identity, self.trust)
        shown = [Shown(prompt=t.problem.prompt, a=t.a.text, b=t.b.text, key=t.key) for t in tasks]
        on_answer = asking(ctx, len(tasks) * num_questions(self.judge))
        judged = judge.compare_all(shown, on_answer=on_answer)
        split = sum(j.winner is not None and not j.consistent for j in judged)
        ctx.count("pairs whose verdict hangs on the order: ties", split, len(judged))
        tally_usage(ctx, chat, self.by)
        name = f"judge({identity.kind}, {identity.model}, {identity.id})"
        return name, [None if j.winner is None else Choice(j.winner) for j in judged]


@dataclass(frozen=True, kw_only=True)
class ModelAnnotator:
    """A trained reward model: the higher score wins, and by how much is the pair's margin."""

    model: RewardModelRef
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "micro_tokens")

    def annotate(self, ctx: Context, tasks: Sequence[Task]) -> tuple[str, list[Choice | None]]:
        """By the normalised scores; an empty completion has none."""
        path = ctx.input(self.model)
        model = open_reward_model(
            path, precision=self.precision, device=ctx.device, micro_tokens=self.micro_tokens
        )
        items = {
            (item.problem.id, item.text): item
            for task in tasks
            for item in (task.a, task.b)
            if item.text.strip()
        }
        rows = list(items.values())
        found = model.scores([r.prompt_ids for r in rows], [r.tokens for r in rows])
        scores = dict(zip(items, found, strict=True))
        ctx.spend(scored_tokens=model.scored_tokens)
        ends = [[scores.get((i.problem.id, i.text)) for i in (t.a, t.b)] for t in tasks]
        return f"reward_model({self.model})", [_by_score(a, b) for a, b in ends]


def _by_score(a: float | None, b: float | None) -> Choice | None:
    if a is None or b is None:
        return None
    return Choice("tie" if a == b else "a" if a > b else "b", abs(a - b))


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Completions -> comparisons."""

    outputs: ClassVar[Mapping[str, str]] = {"comparisons": "comparisons"}

    completions: CompletionsRef
    annotator: RubricAnnotator | JudgeAnnotator | ModelAnnotator = RubricAnnotator()
    pairs_per_problem: int = 4
    """Drawn at random from all pairs of a problem's completions with different texts."""
    num_problems: int | None = None
    """Only completions of the first so many problems; none: all."""

    def __post_init__(self) -> None:
        require_counts(self, "pairs_per_problem", "num_problems")

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        """What judges cost is not known; texts stay as they are."""
        found = known.get(self.completions)
        return Work(), {} if found is None else {"comparisons": found}

    def fingerprint(self) -> str:
        """Of a calibration that is no artifact."""
        if not isinstance(self.annotator, JudgeAnnotator):
            return ""
        return calibration_text(self.annotator.calibration_file)

    def run(self, ctx: Context) -> None:
        groups: dict[str, list[Sampled]] = {}
        for item in read_completions(ctx.input(self.completions)):
            if item.problem.id in groups or len(groups) != self.num_problems:
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
        name, choices = self.annotator.annotate(ctx, tasks)
        made = [
            (
                task,
                Comparison(
                    prompt=task.problem.prompt,
                    a=task.a.text,
                    b=task.b.text,
                    winner=choice.winner,
                    annotator=name,
                    margin=choice.margin,
                ),
            )
            for task, choice in zip(tasks, choices, strict=True)
            if choice is not None
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
    return Task(a=a, b=b, key=key)


def _upset(task: Task, winner: Winner) -> float | None:
    """1.0 if the gold reward says otherwise; None where there is no gold reward."""
    a, b = _gold(task.problem, task.a.text), _gold(task.problem, task.b.text)
    if a is None or b is None:
        return None
    return float(a != b and winner != "tie" and (a > b) != (winner == "a"))


def _gold(problem: Problem, text: str) -> float | None:
    return verify_problem(problem, text).score
