"""Rejection sampling: keep each prompt's best completion, beside its matched random control."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from burnish import rng
from burnish.config import require_counts
from burnish.data.store import Sampled, read_completions, write_conversations
from burnish.engine.memory import Held
from burnish.engine.reward_model import RewardModel, open_reward_model
from burnish.engine.scorers import RewardModelScorer, Scorer, VerifierScorer
from burnish.errors import DataError
from burnish.models.load import Precision
from burnish.pipeline.artifact import CompletionsRef, RewardModelRef
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.recording import recording_models
from burnish.types import mean

USUALLY_PASSED = 0.3
"""Share of completions over a threshold, as a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopPerPrompt:
    """The best `n` completions of each prompt (Llama 2, 2307.09288, section 3.2.3: 1)."""

    n: int = 1
    """Completions a prompt; more of them are more data of lower quality."""

    def __post_init__(self) -> None:
        require_counts(self, "n")

    def kept(self, scores: Sequence[Sequence[float]]) -> list[list[int]]:
        """For each prompt, the indices of its kept completions, best first."""
        return [_ranked(row)[: self.n] for row in scores]


@dataclass(frozen=True, kw_only=True, slots=True)
class TopOverall:
    """The best `n` completions of all prompts together: easy prompts give more of them."""

    n: int
    """Completions in all."""

    def __post_init__(self) -> None:
        require_counts(self, "n")

    def kept(self, scores: Sequence[Sequence[float]]) -> list[list[int]]:
        """For each prompt, the indices of its kept completions, best first."""
        places = [(-score, p, i) for p, row in enumerate(scores) for i, score in enumerate(row)]
        chosen = {(p, i) for _, p, i in sorted(places)[: self.n]}
        return [[i for i in _ranked(row) if (p, i) in chosen] for p, row in enumerate(scores)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """Every completion with at least this score: with 0/1 verifiers, all that are right (STaR)."""

    score: float
    """On the judge's own scale."""

    def kept(self, scores: Sequence[Sequence[float]]) -> list[list[int]]:
        """For each prompt, the indices of its kept completions, best first."""
        return [[i for i in _ranked(row) if row[i] >= self.score] for row in scores]


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Completions + scores -> the best conversations.

    `control` holds as many random completions of the same prompts, so that what selection adds can
    be told from what more training on own samples does.
    """

    outputs: ClassVar[Mapping[str, str]] = {"best": "conversations", "control": "conversations"}

    completions: CompletionsRef
    reward_model: RewardModelRef | None = None
    """Who judges; none: the problems' own verifiers."""
    keep: TopPerPrompt | TopOverall | Threshold = TopPerPrompt()
    earlier: tuple[CompletionsRef, ...] = ()
    """Completions of earlier rounds that compete with these, each text of a problem once. Llama 2
    (2307.09288, section 3.2.3) did without up to its third round, and saw abilities fade."""
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "micro_tokens")

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        """Judging is reading once; how many pass a threshold is a guess."""
        found = known.get(self.completions)
        if found is None:
            return Work(opened=self.reward_model is not None), {}
        judged = 0 if self.reward_model is None else found.num_rows * found.tree_tokens
        kept = replace(found, num_rows=self._usually_kept(found), per_row=1)
        work = Work(scored_tokens=judged, opened=self.reward_model is not None)
        return work, {"best": kept, "control": kept}

    def held(self, known: Known) -> list[Held]:
        del known
        if self.reward_model is None:
            return []
        wide = self.precision == "float32"
        judging = Held(
            models=(self.reward_model,), micro_tokens=self.micro_tokens, full_precision=wide
        )
        return [judging]

    def _usually_kept(self, texts: Texts) -> float:
        if isinstance(self.keep, TopPerPrompt):
            return texts.num_rows * min(self.keep.n, texts.per_row)
        if isinstance(self.keep, TopOverall):
            return min(self.keep.n, texts.num_rows * texts.per_row)
        return USUALLY_PASSED * texts.num_rows * texts.per_row

    @recording_models
    def run(self, ctx: Context) -> None:
        items = read_completions(ctx.input(self.completions))
        items += self._earlier(ctx, items)
        scorer, model = self._scorer(ctx)
        groups: dict[str, list[tuple[Sampled, float]]] = {}
        for item, score in zip(items, _scores(scorer, items), strict=True):
            groups.setdefault(item.problem.id, []).append((item, score))
        best, control, shown = [], [], []
        chosen = self.keep.kept([[score for _, score in group] for group in groups.values()])
        for (problem_id, group), kept in zip(groups.items(), chosen, strict=True):
            prompt = group[0][0].problem.prompt
            others = rng.stream(ctx.seed, "control", problem_id).permutation(len(group))
            for i, other in zip(kept, others.tolist(), strict=False):
                best.append(prompt.then(group[i][0].text))
                control.append(prompt.then(group[other][0].text))
                shown.append(group[i][1])
        if not best:
            raise DataError(f"keep={self.keep}: none of {len(items)} completions is kept")
        every = [score for group in groups.values() for _, score in group]
        write_conversations(ctx.output("best"), best)
        write_conversations(ctx.output("control"), control)
        ctx.count("completions kept", len(best), len(items))
        ctx.tally("mean score of the kept completions", mean(shown))
        ctx.tally("mean score of all completions", mean([s for s in every if math.isfinite(s)]))
        ctx.spend(scored_tokens=model.scored_tokens if model else 0)
        ctx.write_samples(
            {"prompt": c.last_user, "completion": c.messages[-1].content, "score": s}
            for c, s in zip(best[:12], shown, strict=False)
        )

    def _earlier(self, ctx: Context, items: Sequence[Sampled]) -> list[Sampled]:
        """Earlier completions whose text is not there yet; this round's own repeats all compete."""
        given = [item for ref in self.earlier for item in read_completions(ctx.input(ref))]
        seen = {_answer(item) for item in items}
        fresh = []
        for item in given:
            if _answer(item) not in seen:
                seen.add(_answer(item))
                fresh.append(item)
        if self.earlier:
            repeats = len(given) - len(fresh)
            ctx.count("earlier completions whose text was there already", repeats, len(given))
        return fresh

    def _scorer(self, ctx: Context) -> tuple[Scorer, RewardModel | None]:
        if self.reward_model is None:
            return VerifierScorer(), None
        model = open_reward_model(
            ctx.input(self.reward_model),
            precision=self.precision,
            device=ctx.device,
            micro_tokens=self.micro_tokens,
        )
        return RewardModelScorer(model), model


def _answer(item: Sampled) -> tuple[str, str]:
    return item.problem.id, item.text.strip()


def _ranked(scores: Sequence[float]) -> list[int]:
    """Indices from the best score to the worst, the earlier first among equals; unscored ones left
    out."""
    return sorted((i for i, s in enumerate(scores) if s > -math.inf), key=lambda i: (-scores[i], i))


def _scores(scorer: Scorer, items: list[Sampled]) -> list[float]:
    verdicts = scorer.score(
        [s.problem for s in items],
        [s.text for s in items],
        [s.prompt_ids for s in items],
        [s.tokens for s in items],
    )
    return [float("-inf") if v.score is None else v.score for v in verdicts]
