"""The best of several models by the score of what they write.

InstructGPT trains its supervised models past the least validation loss and keeps the one that a
reward model scores best (2203.02155, section 3.5); Llama 3.1 samples each round from the best model
so far (2407.21783, section 4.2). The winner's own score is flattered by having been chosen: measure
it on other problems.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems
from burnish.engine.reward_model import RewardModel, open_reward_model
from burnish.engine.scorers import RewardModelScorer, Scorer, VerifierScorer
from burnish.engine.text_model import TextModel
from burnish.errors import DataError
from burnish.evals.stats import mean_interval
from burnish.models.load import Precision
from burnish.pipeline.artifact import ModelRef, ProblemsRef, RewardModelRef
from burnish.pipeline.files import link_files
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws, sample_problems
from burnish.types import mean


@dataclass(frozen=True, kw_only=True)
class ChooseModel:
    """Models + problems -> the model whose completions score best on average."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    models: dict[str, ModelRef]
    """Of one tokenizer, under names that the report uses; of equals the first is chosen."""
    problems: ProblemsRef
    """None that is trained on, nor one that measures what is chosen."""
    draws: Draws
    num_problems: int = 100
    """The first so many problems."""
    num_samples: int = 1
    """Completions a problem and model."""
    reward_model: RewardModelRef | None = None
    """Who judges; none: the problems' own verifiers."""
    max_rows: int = 192
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require(len(self.models) >= 2, "models must name at least two to choose from")
        require_counts(self, "num_problems", "num_samples", "max_rows", "micro_tokens")

    def work(self) -> Work:
        rows = len(self.models) * self.num_problems * self.num_samples
        tokens = USUAL_SHARE * rows * self.draws.max_new_tokens
        prompts = len(self.models) * self.num_problems * PROMPT_TOKENS
        judged = 0.0 if self.reward_model is None else tokens + prompts
        return Work(
            sampled_tokens=tokens, scored_tokens=prompts + judged, seconds=3 * len(self.models)
        )

    def scaled(self, factor: float) -> Self:
        """Measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        scorer, judge = self._scorer(ctx)
        means: dict[str, float] = {}
        shown: list[dict[str, object]] = []
        tokens = unscored = 0
        for name, ref in self.models.items():
            text = TextModel.open(ctx.input(ref), self.precision, ctx.device)
            items, spent = sample_problems(
                ctx, text, problems, self.draws, num=self.num_samples, max_rows=self.max_rows
            )
            tokens += spent
            scores = _scores(scorer, items)
            unscored += sum(score is None for score in scores)
            by_problem = [
                mean(found)
                for first in range(0, len(items), self.num_samples)
                if (found := [s for s in scores[first : first + self.num_samples] if s is not None])
            ]
            if not by_problem:
                raise DataError(f"{ref}: none of its {len(items)} completions has a score")
            interval = mean_interval(by_problem)
            means[name] = interval.estimate
            ctx.tally(f"mean score of {name}", interval.estimate)
            if interval.n > 1:
                half = (interval.high - interval.low) / 2
                ctx.tally(f"mean score of {name}, half of the 95 % interval", half)
            shown += [
                {"model": name, "prompt": i.problem.prompt.last_user, "completion": i.text}
                for i in items[:4]
            ]
        best = max(means, key=lambda name: means[name])
        ctx.note(f"chosen: {best} ({self.models[best]})")
        ctx.count("completions without a score", unscored, len(items) * len(self.models))
        link_files(ctx.input(self.models[best]), ctx.output("model"))
        ctx.spend(sampled_tokens=tokens, scored_tokens=judge.scored_tokens if judge else 0)
        ctx.write_samples(shown)

    def _scorer(self, ctx: Context) -> tuple[Scorer, RewardModel | None]:
        if self.reward_model is None:
            return VerifierScorer(), None
        model = open_reward_model(
            ctx.input(self.reward_model),
            precision=self.precision,
            device=ctx.device,
            micro_tokens=self.micro_tokens,
            policy=ctx.input(next(iter(self.models.values()))),
        )
        return RewardModelScorer(model), model


def _scores(scorer: Scorer, items: Sequence[Sampled]) -> list[float | None]:
    verdicts = scorer.score(
        [s.problem for s in items],
        [s.text for s in items],
        [s.prompt_ids for s in items],
        [s.tokens for s in items],
    )
    return [v.score for v in verdicts]
