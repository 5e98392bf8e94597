"""Rejection sampling: keep each prompt's best completion, beside its matched random control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish import rng
from burnish.config import require_counts
from burnish.data.store import Sampled, read_completions, write_conversations
from burnish.engine.reward_model import RewardModel
from burnish.engine.scorers import RewardModelScorer, Scorer, VerifierScorer
from burnish.models.load import Precision
from burnish.pipeline.artifact import CompletionsRef, RewardModelRef
from burnish.pipeline.stage import Context
from burnish.types import mean


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Completions + scores -> the best conversation of each prompt (Llama 2, 2307.09288, 3.2.3).

    `control` holds a random completion of each prompt: the same number of rows of the same prompts,
    so that what selection adds can be told from what more training on own samples does.
    """

    outputs: ClassVar[Mapping[str, str]] = {"best": "conversations", "control": "conversations"}

    completions: CompletionsRef
    reward_model: RewardModelRef | None = None
    """Who judges; none: the problems' own verifiers."""
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "micro_tokens")

    def run(self, ctx: Context) -> None:
        items = read_completions(ctx.input(self.completions))
        scorer, model = self._scorer(ctx)
        groups: dict[str, list[tuple[Sampled, float]]] = {}
        for item, score in zip(items, _scores(scorer, items), strict=True):
            groups.setdefault(item.problem.id, []).append((item, score))
        best, control, shown = [], [], []
        for problem_id, group in groups.items():
            top, score = max(group, key=lambda pair: pair[1])
            other = int(rng.stream(ctx.seed, "control", problem_id).integers(len(group)))
            prompt = top.problem.prompt
            best.append(prompt.then(top.text))
            control.append(prompt.then(group[other][0].text))
            shown.append((score, mean([s for _, s in group])))
        write_conversations(ctx.output("best"), best)
        write_conversations(ctx.output("control"), control)
        ctx.tally("mean score of the kept completions", mean([top for top, _ in shown]))
        ctx.tally("mean score of all completions", mean([all_ for _, all_ in shown]))
        ctx.spend(scored_tokens=model.scored_tokens if model else 0)
        ctx.write_samples(
            {"prompt": c.last_user, "completion": c.messages[-1].content, "score": s[0]}
            for c, s in zip(best[:12], shown, strict=False)
        )

    def _scorer(self, ctx: Context) -> tuple[Scorer, RewardModel | None]:
        if self.reward_model is None:
            return VerifierScorer(), None
        path = ctx.input(self.reward_model)
        model = RewardModel(path, precision=self.precision, micro_tokens=self.micro_tokens)
        return RewardModelScorer(model), model


def _scores(scorer: Scorer, items: list[Sampled]) -> list[float]:
    verdicts = scorer.score(
        [s.problem for s in items],
        [s.text for s in items],
        [s.prompt_ids for s in items],
        [s.tokens for s in items],
    )
    return [float("-inf") if v.score is None else v.score for v in verdicts]
