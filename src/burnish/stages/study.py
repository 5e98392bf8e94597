"""A study: what more samples buy at inference time."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems
from burnish.engine.memory import Held
from burnish.engine.reward_model import open_reward_model
from burnish.engine.text_model import TextModel
from burnish.models.load import Precision
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref, RewardModelRef
from burnish.pipeline.files import write_atomic
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import (
    Draws,
    answers,
    sample_problems,
    sampling_in_turn,
    sampling_work,
)
from burnish.verifiers.exact import extract_answer
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class InferenceScaling:
    """What k samples a problem buy, from one pool: coverage (pass@k), majority vote, and by judges
    the best of k and a weighted vote."""

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves"}
    version: ClassVar[int] = 1

    models: dict[str, ModelRef]
    problems: ProblemsRef
    draws: Draws
    num_problems: int = 100
    num_samples: int = 16
    judges: dict[str, RewardModelRef] = field(default_factory=dict)
    """Reward models that pick the best of k; those that give probabilities also weigh a vote."""
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
        return sampling_in_turn(
            self.models.values(),
            lambda model: self._texts(known, model),
            self.draws,
            self.max_rows,
            self.precision,
        )

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


def _pool_row(model: str, pool: Sequence[Sampled]) -> dict[str, Any]:
    verdicts = [verify_problem(s.problem, s.text) for s in pool]
    said = [extract_answer(s.text) for s in pool]
    return {
        "model": model,
        "problem": pool[0].problem.id,
        "n": len(pool),
        "correct": sum(bool(v.passed) for v in verdicts),
        "right": [int(bool(v.passed)) for v in verdicts],
        "answers": dict(Counter(said)),
        "said": said,
        "gold_answer": extract_answer(f"Answer: {pool[0].problem.answer}"),
        "tokens": sum(len(s.tokens) for s in pool),
    }
