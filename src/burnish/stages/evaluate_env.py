"""Evaluation of episodes: every model plays the same held-out problems, under the same limits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import read_problems, write_rows
from burnish.engine.agent_collector import opening_text, total_score
from burnish.engine.episodes import Limits, Start, Trajectory, play
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.text_model import TextModel
from burnish.envs.foreign import ForeignEnv
from burnish.envs.guessing import GuessingGame
from burnish.envs.protocol import Env
from burnish.envs.single_turn import SingleTurn
from burnish.envs.tool_use import ToolUse
from burnish.errors import DataError, Interrupted
from burnish.models.load import Precision
from burnish.models.policy import context_length
from burnish.pipeline.artifact import ModelRef, ProblemsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws
from burnish.types import Problem

AT_ONCE = 64
"""Problems played together: what is done between two looks at a request to stop."""
TYPICAL_TURNS = 3
"""Of an episode, as a guess for estimates of cost."""


@dataclass(frozen=True, kw_only=True)
class EvaluateEnv:
    """Models + problems + an environment -> scores, one row an episode."""

    outputs: ClassVar[Mapping[str, str]] = {"scores": "scores"}

    models: dict[str, ModelRef]
    """Under the names that the report uses."""
    problems: tuple[ProblemsRef, ...]
    env: SingleTurn | ToolUse | GuessingGame | ForeignEnv
    draws: Draws
    """Of each turn."""
    limits: Limits = Limits()
    num_problems: int | None = None
    """Of each set, the first so many; none: all."""
    max_rows: int = 192
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows")
        require(bool(self.models), "models must name at least one model")

    def work(self) -> Work:
        rows = len(self.models) * len(self.problems) * (self.num_problems or 200)
        turns = usual_turns(self.env, self.limits)
        sampled = USUAL_SHARE * rows * self.draws.max_new_tokens * turns
        read = rows * turns * (PROMPT_TOKENS + sampled / (2 * rows))
        return Work(sampled_tokens=sampled, scored_tokens=read, seconds=3 * len(self.models))

    def scaled(self, factor: float) -> Self:
        """Held-out problems are not cut: fewer of them would widen every interval."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = [
            problem
            for ref in self.problems
            for problem in read_problems(ctx.input(ref))[: self.num_problems]
        ]
        if not problems:
            raise DataError("there are no problems to play: give a set that is not empty")
        rows: list[dict[str, Any]] = []
        counts: Counter[str] = Counter()
        sampled = read = 0
        progress = ctx.progress(len(self.models) * len(problems), "episode")
        for name, ref in self.models.items():
            text = TextModel.open(ctx.input(ref), self.precision, ctx.device)
            for first in range(0, len(problems), AT_ONCE):
                if ctx.stopping():
                    raise Interrupted()
                for episode in self._play(text, problems[first : first + AT_ONCE], ctx.seed):
                    rows.append(episode_row(name, episode))
                    counts.update(_counts(episode))
                    sampled += episode.num_sampled
                    read += len(episode.prompt) + len(episode.tokens) - episode.num_sampled
                progress.update(len(rows), f"{sampled} tokens")
        for what in ("tokens", "context", "turns"):
            ctx.count(f"episodes cut by the limit of {what}", counts[f"cut {what}"], len(rows))
        for what in sorted(k for k in counts if k.startswith("env/")):
            ctx.tally(what.removeprefix("env/").replace("_", " "), counts[what])
        write_rows(ctx.output("scores"), rows)
        ctx.spend(sampled_tokens=sampled, scored_tokens=read)
        ctx.write_samples(rows[:: max(len(rows) // 24, 1)])

    def _play(self, text: TextModel, problems: Sequence[Problem], seed: int) -> list[Trajectory]:
        starts = [
            Start(
                problem=problem,
                key=rng.key(seed, "play", problem.id),
                env_key=rng.key(seed, "env", problem.id),
            )
            for problem in problems
        ]
        groups = play(
            starts,
            env=self.env,
            chat=text,
            sampler=LocalSampler(text.model, max_rows=self.max_rows),
            sampling=self.draws.sampling(text.stop_ids),
            limits=self.limits,
            context=context_length(text.model),
        )
        return [episode for group in groups for episode in group]


def episode_row(model: str, episode: Trajectory) -> dict[str, Any]:
    """What an evaluation says of one episode: a row of scores.jsonl."""
    return {
        "model": model,
        "task": episode.problem.task,
        "problem": episode.problem.id,
        "prompt": opening_text(episode),
        "completion": episode.transcript,
        "score": total_score(episode),
        "passed": episode.verdict.passed,
        "tokens": episode.num_sampled,
        "turns": len(episode.turns),
        "finish": "length" if episode.cut else "stop",
        "cut": episode.cut,
    }


def usual_turns(env: Env | None, limits: Limits) -> int:
    """Turns of an episode, as a guess."""
    return 1 if env is None or isinstance(env, SingleTurn) else min(TYPICAL_TURNS, limits.max_turns)


def _counts(episode: Trajectory) -> Counter[str]:
    found = Counter([f"cut {episode.cut}"] if episode.cut else [])
    for turn in episode.turns:
        found.update(turn.reply.counts)
    return found
