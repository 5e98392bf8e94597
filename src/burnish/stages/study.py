"""Studies: over-optimisation of a learnt reward, and what more samples buy at inference time."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems
from burnish.engine.memory import Held
from burnish.engine.reward_model import RewardModel, open_reward_model
from burnish.engine.text_model import TextModel
from burnish.evals.stats import best_of_n_kl, expected_best_of_n
from burnish.models.load import Precision, open_causal_lm
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref, RewardModelRef, SnapshotsRef
from burnish.pipeline.files import write_atomic
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.evaluate import completion_logprobs
from burnish.stages.sample import (
    Draws,
    answers,
    sample_problems,
    sampling_held,
    sampling_work,
)
from burnish.types import Problem
from burnish.verifiers.exact import extract_answer
from burnish.verifiers.verify import verify_problem

USUAL_SNAPSHOTS = 2
"""Of a training run, as a guess."""


@dataclass(frozen=True, kw_only=True)
class OverOptimisation:
    """Proxy and gold reward over distance from the start (Gao et al. 2022, 2210.10760).

    Two ways of optimising the same learnt reward: the best of n of the start's own completions
    (distance: the bound log n - (n-1)/n), and a training run's snapshots (distance: the measured
    KL on their own samples). Held-out prompts throughout.
    """

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves"}

    start: ModelRef
    reward_model: RewardModelRef
    problems: ProblemsRef
    draws: Draws
    snapshots: SnapshotsRef | None = None
    final: ModelRef | None = None
    """The training run's last weights."""
    num_problems: int = 100
    num_samples: int = 16
    """Pool of each prompt from which the best of n is estimated, for every n up to this."""
    max_rows: int = 192
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows", "micro_tokens")
        require(self.num_samples >= 2, "num_samples must be at least 2")
        require(self.draws.temperature > 0, "draws.temperature must be above 0")

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        texts = answers(known, self.start, self.problems, self.num_problems, self.draws)
        pool = sampling_work(replace(texts, per_row=self.num_samples), self.draws, self.max_rows)
        each = sampling_work(texts, self.draws, self.max_rows)
        weights = USUAL_SNAPSHOTS * (self.snapshots is not None) + (self.final is not None)
        read = texts.num_rows * texts.tree_tokens
        judged = pool.sampled_tokens + pool.scored_tokens
        return Work(
            sampled_tokens=pool.sampled_tokens + weights * each.sampled_tokens,
            scored_tokens=pool.scored_tokens + judged + weights * (each.scored_tokens + 3 * read),
            decode_steps=pool.decode_steps + weights * each.decode_steps,
            opened=2 + weights,
        ), {}

    def held(self, known: Known) -> list[Held]:
        """Start, judge, and in turn each of the weights, which writes one completion a prompt."""
        texts = answers(known, self.start, self.problems, self.num_problems, self.draws)
        texts = replace(texts, per_row=self.num_samples)
        pool = sampling_held(self.start, texts, self.draws, self.max_rows, self.precision)
        return [
            replace(pool, models=(self.start, self.start, self.reward_model), after_another=True)
        ]

    def scaled(self, factor: float) -> Self:
        """Held-out measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        judge = open_reward_model(
            ctx.input(self.reward_model),
            precision=self.precision,
            device=ctx.device,
            micro_tokens=self.micro_tokens,
            policy=ctx.input(self.start),
        )
        start = TextModel.open(ctx.input(self.start), self.precision, ctx.device)
        pool, tokens = sample_problems(
            ctx, start, problems, self.draws, num=self.num_samples, max_rows=self.max_rows
        )
        rows = self._best_of_n(pool, judge)
        for step, path in self._weights(ctx):
            sampled_rows, num_tokens = self._snapshot(ctx, path, step, problems, judge, start)
            rows += sampled_rows
            tokens += num_tokens
        write_curves(ctx.output("curves"), rows)
        ctx.spend(sampled_tokens=tokens, scored_tokens=judge.scored_tokens)
        ctx.write_samples(rows[:12])

    def _best_of_n(self, pool: Sequence[Sampled], judge: RewardModel) -> list[dict[str, Any]]:
        proxy, gold = _scores(pool, judge)
        rows = []
        for first in range(0, len(pool), self.num_samples):
            part = slice(first, first + self.num_samples)
            for n in (2**i for i in range(self.num_samples.bit_length())):
                rows.append(
                    {
                        "series": "best_of_n",
                        "x": n,
                        "kl": best_of_n_kl(n),
                        "proxy": expected_best_of_n(proxy[part], proxy[part], n),
                        "gold": expected_best_of_n(proxy[part], gold[part], n),
                        "prompt": pool[first].problem.id,
                    }
                )
        return rows

    def _weights(self, ctx: Context) -> list[tuple[int, Path]]:
        """Snapshots by step, and the final weights as the step after the last."""
        found: list[tuple[int, Path]] = []
        if self.snapshots is not None:
            folders = sorted(ctx.input(self.snapshots).glob("step-*"))
            found = [(int(p.name.removeprefix("step-")), p) for p in folders]
        if self.final is not None:
            gap = found[1][0] - found[0][0] if len(found) > 1 else 1
            found.append(((found[-1][0] if found else 0) + gap, ctx.input(self.final)))
        return found

    def _snapshot(
        self,
        ctx: Context,
        path: Path,
        step: int,
        problems: Sequence[Problem],
        judge: RewardModel,
        start: TextModel,
    ) -> tuple[list[dict[str, Any]], int]:
        text = TextModel(
            start.path,
            open_causal_lm(path, self.precision, ctx.device),
            start.tokenizer,
            start.stop_ids,
            False,
        )
        sampled, tokens = sample_problems(
            ctx, text, problems, self.draws, num=1, max_rows=self.max_rows
        )
        proxy, gold = _scores(sampled, judge)
        own, ref = (
            completion_logprobs(
                model, sampled, self.micro_tokens, temperature=self.draws.temperature
            )
            for model in (text.model, start.model)
        )
        kls = [a - b for a, b in zip(own, ref, strict=True)]
        rows = [
            {
                "series": "ppo",
                "x": step,
                "kl": kl,
                "proxy": p,
                "gold": g,
                "prompt": s.problem.id,
            }
            for s, kl, p, g in zip(sampled, kls, proxy, gold, strict=True)
        ]
        return rows, tokens


@dataclass(frozen=True, kw_only=True)
class InferenceScaling:
    """What k samples a problem buy: coverage (pass@k), majority vote and best of k by judges, from
    one pool."""

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves"}

    models: dict[str, ModelRef]
    problems: ProblemsRef
    draws: Draws
    num_problems: int = 100
    num_samples: int = 16
    judges: dict[str, RewardModelRef] = field(default_factory=dict)
    """Reward models that pick the best of k."""
    max_rows: int = 192
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows", "micro_tokens")
        require(self.num_samples >= 2, "num_samples must be at least 2")
        require(self.draws.temperature > 0, "draws.temperature must be above 0")

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        works = [
            sampling_work(self._texts(known, model), self.draws, self.max_rows)
            for model in self.models.values()
        ]
        sampled = sum(w.sampled_tokens for w in works)
        prompts = sum(w.scored_tokens for w in works)
        return Work(
            sampled_tokens=sampled,
            scored_tokens=prompts + len(self.judges) * (sampled + prompts),
            decode_steps=sum(w.decode_steps for w in works),
            opened=len(works) * (1 + len(self.judges)),
        ), {}

    def held(self, known: Known) -> list[Held]:
        return [
            sampling_held(
                model,
                self._texts(known, model),
                self.draws,
                self.max_rows,
                self.precision,
                after_another=number > 0,
            )
            for number, model in enumerate(self.models.values())
        ]

    def _texts(self, known: Known, model: Ref) -> Texts:
        texts = answers(known, model, self.problems, self.num_problems, self.draws)
        return replace(texts, per_row=self.num_samples)

    def scaled(self, factor: float) -> Self:
        """Held-out measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        rows: list[dict[str, Any]] = []
        spent = scored = 0
        for name, ref in self.models.items():
            text = TextModel.open(ctx.input(ref), self.precision, ctx.device)
            pool, tokens = sample_problems(
                ctx, text, problems, self.draws, num=self.num_samples, max_rows=self.max_rows
            )
            del text
            judged, read = self._judged(ctx, ctx.input(ref), pool)
            spent, scored = spent + tokens, scored + read
            for first in range(0, len(pool), self.num_samples):
                part = slice(first, first + self.num_samples)
                row = _pool_row(name, pool[part])
                if judged:
                    row["judged"] = {judge: scores[part] for judge, scores in judged.items()}
                rows.append(row)
        write_curves(ctx.output("curves"), rows)
        ctx.spend(sampled_tokens=spent, scored_tokens=scored)
        ctx.write_samples(rows[:12])

    def _judged(
        self, ctx: Context, policy: Path, pool: Sequence[Sampled]
    ) -> tuple[dict[str, list[float]], int]:
        """Each judge's scores of the pool, and the tokens it took to read."""
        found, read = {}, 0
        for name, ref in self.judges.items():
            judge = open_reward_model(
                ctx.input(ref),
                precision=self.precision,
                device=ctx.device,
                micro_tokens=self.micro_tokens,
                policy=policy,
            )
            found[name] = judge.scores([s.prompt_ids for s in pool], [s.tokens for s in pool])
            read += judge.scored_tokens
        return found, read


def write_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raw rows of a study as one JSON list, one row a line."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomic(path, f"[\n{lines}\n]\n")


def _scores(pool: Sequence[Sampled], judge: RewardModel) -> tuple[list[float], list[float]]:
    proxy = judge.scores([s.prompt_ids for s in pool], [s.tokens for s in pool])
    gold = [verify_problem(s.problem, s.text).score for s in pool]
    return proxy, [float("nan") if g is None else g for g in gold]


def _pool_row(model: str, pool: Sequence[Sampled]) -> dict[str, Any]:
    verdicts = [verify_problem(s.problem, s.text) for s in pool]
    return {
        "model": model,
        "problem": pool[0].problem.id,
        "n": len(pool),
        "correct": sum(bool(v.passed) for v in verdicts),
        "right": [int(bool(v.passed)) for v in verdicts],
        "answers": dict(Counter(extract_answer(s.text) for s in pool)),
        "gold_answer": extract_answer(f"Answer: {pool[0].problem.answer}"),
        "tokens": sum(len(s.tokens) for s in pool),
    }
