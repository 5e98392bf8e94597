"""Evaluation: every model on the same held-out problems, with the same prompts and decoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn

from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems, write_rows
from burnish.engine.memory import Held
from burnish.engine.reward_model import open_reward_model
from burnish.engine.text_model import TextModel
from burnish.models.load import Precision, open_causal_lm
from burnish.models.policy import micro_batches, share_prompts, summed_logprobs
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref, RewardModelRef
from burnish.pipeline.forecast import Known, Texts, joined
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import (
    Draws,
    answers,
    sample_problems,
    sampling_in_turn,
    sampling_work,
)
from burnish.types import Finish
from burnish.verifiers.exact import extract_answer, verify_exact_problem
from burnish.verifiers.verify import VERIFIERS, verify_problem


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Models + problems -> scores, one row a model and problem."""

    outputs: ClassVar[Mapping[str, str]] = {"scores": "scores"}

    models: dict[str, ModelRef]
    """Under the names that the report uses."""
    problems: tuple[ProblemsRef, ...]
    draws: Draws
    num_problems: int | None = None
    """Of each set, the first so many; none: all."""
    reward_model: RewardModelRef | None = None
    """Adds the learnt reward to each row."""
    reference: ModelRef | None = None
    """Adds each completion's summed log ratio to this model: its mean over samples at temperature 1
    estimates KL(model || reference)."""
    max_rows: int = 192
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows", "micro_tokens")
        require(bool(self.models), "models must name at least one model")

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        asked = [self._texts(known, model) for model in self.models.values()]
        works = [sampling_work(texts, self.draws, self.max_rows) for texts in asked]
        # Completions of one prompt share it where one model scores them all.
        sampled = sum(w.sampled_tokens for w in works)
        shared = sampled + asked[0].num_rows * asked[0].prompt_tokens
        judges = (self.reward_model is not None) + (self.reference is not None)
        return Work(
            sampled_tokens=sampled,
            scored_tokens=sum(w.scored_tokens for w in works) + judges * shared,
            decode_steps=sum(w.decode_steps for w in works),
            opened=len(works) + judges,
        ), {}

    def held(self, known: Known) -> list[Held]:
        return sampling_in_turn(
            self.models.values(),
            lambda model: self._texts(known, model),
            self.draws,
            self.max_rows,
            self.precision,
            after_another=self.reward_model is not None or self.reference is not None,
        )

    def _texts(self, known: Known, model: Ref) -> Texts:
        parts = [answers(known, model, p, self.num_problems, self.draws) for p in self.problems]
        return joined(parts)

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
        rows: list[dict[str, Any]] = []
        items: list[Sampled] = []
        own: list[float | None] = []
        sampled_tokens = scored_tokens = 0
        for name, ref in self.models.items():
            text = TextModel.open(ctx.input(ref), self.precision, ctx.device)
            sampled, num_tokens = sample_problems(
                ctx, text, problems, self.draws, num=1, max_rows=self.max_rows
            )
            sampled_tokens += num_tokens
            if self.reference is not None and ref == self.reference:
                own += [None] * len(sampled)
            elif self.reference is not None and self._samples_the_model():
                own += [s.logprob for s in sampled]
            elif self.reference is not None:
                own += self._logprobs(text.model, sampled)
                scored_tokens += sum(len(s.prompt_ids) + len(s.tokens) for s in sampled)
            rows += [score_row(name, s) for s in sampled]
            items += sampled
            del text
        if self.reference is not None:
            scored_tokens += self._add_kl(ctx, rows, items, own)
        if self.reward_model is not None:
            scored_tokens += self._add_proxy(ctx, rows, items)
        for task, (without, asked) in _formats(rows).items():
            ctx.count(
                f"{task}: completions without the `Answer:` that was asked for", without, asked
            )
        cut = sum(row["finish"] == Finish.LENGTH.value for row in rows)
        ctx.count(f"completions cut at {self.draws.max_new_tokens} tokens", cut, len(rows))
        write_rows(ctx.output("scores"), rows)
        ctx.spend(sampled_tokens=sampled_tokens, scored_tokens=scored_tokens)
        ctx.write_samples(rows[:: max(len(rows) // 24, 1)])

    def _add_proxy(
        self, ctx: Context, rows: Sequence[dict[str, Any]], items: Sequence[Sampled]
    ) -> int:
        assert self.reward_model is not None
        model = open_reward_model(
            ctx.input(self.reward_model),
            precision=self.precision,
            device=ctx.device,
            micro_tokens=self.micro_tokens,
            policy=ctx.input(next(iter(self.models.values()))),
        )
        scores = model.scores([s.prompt_ids for s in items], [s.tokens for s in items])
        for row, score in zip(rows, scores, strict=True):
            row["proxy"] = score
        return model.scored_tokens

    def _samples_the_model(self) -> bool:
        """Whether the sampler's own log-probabilities are those of the whole distribution."""
        return self.draws.temperature > 0 and self.draws.support.whole

    def _logprobs(self, model: nn.Module, items: Sequence[Sampled]) -> list[float]:
        return completion_logprobs(
            model, items, self.micro_tokens, temperature=self.draws.temperature or 1.0
        )

    def _add_kl(
        self,
        ctx: Context,
        rows: Sequence[dict[str, Any]],
        items: Sequence[Sampled],
        own: Sequence[float | None],
    ) -> int:
        """Summed log ratio to the reference, whose own completions have none; tokens scored."""
        assert self.reference is not None
        other = [i for i, logprob in enumerate(own) if logprob is not None]
        reference = open_causal_lm(ctx.input(self.reference), self.precision, ctx.device)
        scored = self._logprobs(reference, [items[i] for i in other])
        for row in rows:
            row["kl"] = 0.0
        for i, logprob in zip(other, scored, strict=True):
            rows[i]["kl"] = float(own[i] or 0.0) - logprob
        return sum(len(items[i].prompt_ids) + len(items[i].tokens) for i in other)


def _formats(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """For tasks with exact answers: completions that give none in the format, and all of them."""
    out: dict[str, tuple[int, int]] = {}
    for row in rows:
        verifier = VERIFIERS.get(row["task"], verify_exact_problem)
        if row["passed"] is not None and verifier is verify_exact_problem:
            without, asked = out.get(row["task"], (0, 0))
            out[row["task"]] = (without + (not extract_answer(row["completion"])), asked + 1)
    return out


@torch.no_grad()
def completion_logprobs(
    model: nn.Module, items: Sequence[Sampled], micro_tokens: int, *, temperature: float
) -> list[float]:
    """Summed log-probability of each completion; completions of one prompt share its tokens."""
    shared = share_prompts([s.prompt_ids for s in items], [s.tokens for s in items], micro_tokens)
    out = [0.0] * len(items)
    for index in micro_batches([t.num_tokens for t, _ in shared], micro_tokens):
        trees = [shared[i][0] for i in index]
        sums = summed_logprobs(model, trees, temperature=temperature).tolist()
        for row, value in zip((r for i in index for r in shared[i][1]), sums, strict=True):
            out[row] = value
    return out


def score_row(model: str, item: Sampled) -> dict[str, Any]:
    """What an evaluation says of one completion: a row of scores.jsonl."""
    verdict = verify_problem(item.problem, item.text)
    return {
        "model": model,
        "task": item.problem.task,
        "problem": item.problem.id,
        "prompt": item.problem.prompt.last_user,
        "completion": item.text,
        "score": verdict.score,
        "passed": verdict.passed,
        "tokens": len(item.tokens),
        "finish": item.finish.value,
    }
