"""A study: how far a learnt reward can be pursued before the known one falls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from burnish.config import require, require_counts, suggest
from burnish.data.store import Sampled, read_problems
from burnish.engine.memory import Held
from burnish.engine.reward_model import RewardModel, open_reward_model
from burnish.engine.text_model import TextModel
from burnish.evals.stats import best_of_n_kl, expected_best_of_n
from burnish.evals.symptoms import SYMPTOMS, symptoms
from burnish.models.load import Precision, open_causal_lm
from burnish.pipeline.artifact import ModelRef, ProblemsRef, RewardModelRef, SnapshotsRef
from burnish.pipeline.files import link_files
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
from burnish.stages.study import write_curves
from burnish.types import Problem, mean
from burnish.verifiers.verify import gold_scores

Row = dict[str, Any]

USUAL_SNAPSHOTS = 6
"""Of a pursuit: how many it keeps shows only when it has run."""


@dataclass(frozen=True, kw_only=True)
class Pursuit:
    """A training run that pursued one of the proxies."""

    proxy: str
    """Which of `proxies`."""
    snapshots: SnapshotsRef | None = None
    final: ModelRef | None = None
    """Its last weights."""

    def __post_init__(self) -> None:
        require(
            self.snapshots is not None or self.final is not None,
            "snapshots or final must be given: there is nothing to measure",
        )


@dataclass(frozen=True, kw_only=True)
class OverOptimisation:
    """Proxy and gold reward over distance from the start (Gao et al. 2022, 2210.10760).

    Two ways of pursuing a learnt reward: the best of n of the start's own completions (distance:
    the bound log n - (n-1)/n), for each proxy from one pool; and training runs' snapshots
    (distance: the measured KL on their own samples). Held-out prompts throughout. `best` is the
    model of the start and all snapshots that has the highest gold score there: it was picked after
    looking, so its own score here is too good.
    """

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves", "best": "model"}
    version: ClassVar[int] = 1

    start: ModelRef
    proxies: dict[str, RewardModelRef]
    """Learnt rewards, under the names that the report uses."""
    problems: ProblemsRef
    draws: Draws
    pursuits: dict[str, Pursuit] = field(default_factory=dict)
    """Training runs, under the names that the report uses."""
    num_problems: int = 100
    num_samples: int = 16
    """Pool of each prompt from which the best of n is estimated, for every n up to this."""
    max_rows: int = 192
    micro_tokens: int = 4096
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "max_rows", "micro_tokens")
        require(bool(self.proxies), "proxies must name at least one reward model")
        require(self.num_samples >= 2, "num_samples must be at least 2")
        require(self.draws.temperature > 0, "draws.temperature must be above 0")
        for name, pursuit in self.pursuits.items():
            require(
                pursuit.proxy in self.proxies,
                f"pursuits: {name} is of `{pursuit.proxy}`; {suggest(pursuit.proxy, self.proxies)}",
            )

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        snapshots = USUAL_SNAPSHOTS * len(self.pursuits)
        pool, each = self._texts(known, self.num_samples), self._texts(known, 1)
        first, again = (sampling_work(texts, self.draws, self.max_rows) for texts in (pool, each))
        # The pool by every proxy; each snapshot's completions by it, by the start and by one proxy.
        scored = first.scored_tokens + len(self.proxies) * _read(pool)
        scored += snapshots * (again.scored_tokens + 3 * _read(each))
        return Work(
            sampled_tokens=first.sampled_tokens + snapshots * again.sampled_tokens,
            scored_tokens=scored,
            decode_steps=first.decode_steps + snapshots * again.decode_steps,
            opened=1 + len(self.proxies) + snapshots,
        ), {}

    def held(self, known: Known) -> list[Held]:
        """While the pool is drawn, and while a snapshot, of the start's shape, writes beside the
        start and its proxy."""
        drawing, again = (
            sampling_held(
                self.start, self._texts(known, num), self.draws, self.max_rows, self.precision
            )
            for num in (self.num_samples, 1)
        )
        judges = [self.proxies[pursuit.proxy] for pursuit in self.pursuits.values()]
        beside = [replace(again, models=(self.start, self.start, judge)) for judge in judges]
        scoring = [replace(each, sampled=None, micro_tokens=self.micro_tokens) for each in beside]
        return [drawing, *beside, *scoring]

    def _texts(self, known: Known, num: int) -> Texts:
        texts = answers(known, self.start, self.problems, self.num_problems, self.draws)
        return replace(texts, per_row=num)

    def scaled(self, factor: float) -> Self:
        """Held-out measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        start = TextModel.open(ctx.input(self.start), self.precision, ctx.device)
        pool, tokens = sample_problems(
            ctx, start, problems, self.draws, num=self.num_samples, max_rows=self.max_rows
        )
        gold, seen = _gold(pool), [symptoms(s.text) for s in pool]
        rows: list[Row] = []
        candidates = {ctx.input(self.start): mean(gold)}
        scored = 0
        for name, ref in self.proxies.items():
            judge = self._judge(ctx, ctx.input(ref))
            rows += self._best_of_n(name, pool, _proxy(pool, judge), gold, seen)
            for label, pursuit in self.pursuits.items():
                if pursuit.proxy == name:
                    for step, path in _weights(ctx, pursuit):
                        found = self._snapshot(ctx, path, problems, judge, start)
                        rows += [{"series": label, "judge": name, "x": step} | r for r in found]
                        candidates[path] = mean([row["gold"] for row in found])
                        tokens += sum(row["tokens"] for row in found)
                        scored += 2 * sum(row["read"] for row in found)
            scored += judge.scored_tokens
        write_curves(ctx.output("curves"), rows)
        self._keep_best(ctx, candidates)
        ctx.spend(sampled_tokens=tokens, scored_tokens=scored)
        ctx.write_samples(rows[:12])

    def _judge(self, ctx: Context, path: Path) -> RewardModel:
        return open_reward_model(
            path,
            precision=self.precision,
            device=ctx.device,
            micro_tokens=self.micro_tokens,
            policy=ctx.input(self.start),
        )

    def _best_of_n(
        self,
        judge: str,
        pool: Sequence[Sampled],
        proxy: Sequence[float],
        gold: Sequence[float],
        seen: Sequence[Mapping[str, float]],
    ) -> list[Row]:
        rows = []
        for first in range(0, len(pool), self.num_samples):
            part = slice(first, first + self.num_samples)
            scores = proxy[part]
            for n in (2**i for i in range(self.num_samples.bit_length())):
                rows.append(
                    {
                        "series": "best_of_n",
                        "judge": judge,
                        "x": n,
                        "kl": best_of_n_kl(n),
                        "proxy": expected_best_of_n(scores, scores, n),
                        "gold": expected_best_of_n(scores, gold[part], n),
                        "prompt": pool[first].problem.id,
                        **{
                            key: expected_best_of_n(scores, [s[key] for s in seen[part]], n)
                            for key in SYMPTOMS
                        },
                    }
                )
        return rows

    def _snapshot(
        self,
        ctx: Context,
        path: Path,
        problems: Sequence[Problem],
        judge: RewardModel,
        start: TextModel,
    ) -> list[Row]:
        text = TextModel(
            start.path,
            open_causal_lm(path, self.precision, ctx.device),
            start.tokenizer,
            start.stop_ids,
            False,
        )
        sampled, _ = sample_problems(ctx, text, problems, self.draws, num=1, max_rows=self.max_rows)
        own, ref = (
            completion_logprobs(
                model, sampled, self.micro_tokens, temperature=self.draws.temperature
            )
            for model in (text.model, start.model)
        )
        return [
            {
                "kl": a - b,
                "proxy": p,
                "gold": g,
                "prompt": s.problem.id,
                "tokens": len(s.tokens),
                "read": len(s.prompt_ids) + len(s.tokens),
                **symptoms(s.text),
            }
            for s, a, b, p, g in zip(
                sampled, own, ref, _proxy(sampled, judge), _gold(sampled), strict=True
            )
        ]

    def _keep_best(self, ctx: Context, candidates: Mapping[Path, float]) -> None:
        path = max(candidates, key=lambda p: candidates[p])
        link_files(path, ctx.output("best"))
        ctx.note(
            f"best: of {len(candidates)} models the highest gold score, "
            f"{candidates[path]:.3f}, has {path.relative_to(ctx.run_dir)}",
            key="best",
        )


def _read(texts: Texts) -> float:
    """Tokens of all completions, and of the prompt that those of a problem share."""
    return texts.num_rows * texts.tree_tokens


def _weights(ctx: Context, pursuit: Pursuit) -> list[tuple[int, Path]]:
    """Snapshots by step, and the final weights as the step after the last."""
    found: list[tuple[int, Path]] = []
    if pursuit.snapshots is not None:
        folders = sorted(ctx.input(pursuit.snapshots).glob("step-*"))
        found = [(int(p.name.removeprefix("step-")), p) for p in folders]
    if pursuit.final is not None:
        gap = found[1][0] - found[0][0] if len(found) > 1 else 1
        found.append(((found[-1][0] if found else 0) + gap, ctx.input(pursuit.final)))
    return found


def _proxy(pool: Sequence[Sampled], judge: RewardModel) -> list[float]:
    return judge.scores([s.prompt_ids for s in pool], [s.tokens for s in pool])


def _gold(pool: Sequence[Sampled]) -> list[float]:
    return gold_scores([(s.problem, s.text) for s in pool], "problems")
