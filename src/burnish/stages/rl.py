"""Reinforcement learning of a language model: PPO, GRPO, REINFORCE on one loop."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from burnish.algos.advantages import all_equal
from burnish.algos.grpo import GRPO
from burnish.algos.kl import kl
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.config import require, require_counts
from burnish.data.store import read_problems
from burnish.engine.improve import Plan, improve
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Metrics, Rollout
from burnish.engine.reward_model import RewardModel
from burnish.engine.scorers import RewardModelScorer, Scorer, VerifierScorer
from burnish.engine.text_collector import TextCollector
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Checkpointer, Trainer
from burnish.errors import TrainingError
from burnish.models.load import Precision, open_causal_lm
from burnish.models.lora import LoRA
from burnish.pipeline.artifact import ModelRef, ProblemsRef, RewardModelRef
from burnish.pipeline.files import link, sync_tree
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws
from burnish.types import Json

USUAL_SIGNAL = 0.5
"""Share of groups whose exact rewards differ, as a guess: the others are not trained on."""


@dataclass(frozen=True, kw_only=True)
class RL:
    """Model + problems + (reward model or verifiers) -> model. The start is the reference."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model", "snapshots": "snapshots"}

    model: ModelRef
    problems: ProblemsRef
    algorithm: PPO | GRPO | REINFORCE
    optim: Optim
    steps: int
    """Rollouts."""
    problems_per_step: int
    group_size: int
    """Completions a problem and step."""
    draws: Draws
    reward_model: RewardModelRef | None = None
    """Who scores; none: the problems' own verifiers, and no reward model is opened."""
    epochs: int = 1
    """Passes over each rollout."""
    minibatches: int = 1
    """Optimiser steps a pass."""
    num_snapshots: int = 0
    """Weights kept on the way, evenly spaced, for the over-optimisation study."""
    micro_tokens: int = 2048
    max_rows: int = 192
    lora: LoRA | None = None
    precision: Precision = "bfloat16"
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        require_counts(self, "problems_per_step", "group_size", "micro_tokens", "max_rows")
        require(self.num_snapshots >= 0, "num_snapshots must be at least 0")
        require(
            self.group_size >= 2 or not isinstance(self.algorithm, GRPO),
            "group_size must be at least 2: GRPO compares completions of one problem",
        )
        require(self.draws.temperature > 0, "draws.temperature must be above 0 to explore")
        require(
            self.draws.top_k == 0 and self.draws.top_p == 1,
            "draws.top_k and draws.top_p must be off in training: the loss scores all tokens",
        )
        self._plan()

    def _plan(self) -> Plan:
        return Plan(steps=self.steps, epochs=self.epochs, minibatches=self.minibatches)

    def work(self) -> Work:
        rows = self.steps * self.problems_per_step * self.group_size
        sampled = USUAL_SHARE * rows * self.draws.max_new_tokens
        prompts = self.steps * self.problems_per_step * PROMPT_TOKENS
        needs = self.algorithm.needs()
        own = bool(needs & {"old_logprobs", "values"}) or self.epochs * self.minibatches > 1
        passes = own + ("ref_logprobs" in needs) + (self.reward_model is not None)
        grouped = isinstance(self.algorithm, GRPO) and self.reward_model is None
        return Work(
            sampled_tokens=sampled,
            trained_tokens=(sampled + prompts) * self.epochs * (USUAL_SIGNAL if grouped else 1.0),
            scored_tokens=(sampled + prompts) * passes + prompts,
            seconds=6,
        )

    def scaled(self, factor: float) -> Self:
        return replace(self, steps=max(round(self.steps * factor), 1))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, lora=self.lora, seed=ctx.seed)
        head = _value_head(text.model) if "values" in self.algorithm.needs() else None
        num_updates = self.steps * self.epochs * self.minibatches
        trainer = Trainer(text.model, self.optim, num_steps=num_updates, head=head)
        reference, reference_mode = self._reference(ctx, text)
        learner = LocalLearner(
            trainer,
            temperature=self.draws.temperature,
            micro_tokens=self.micro_tokens,
            reference=reference,
            reference_mode=reference_mode,
        )
        scorer, reward_model = self._scorer(ctx)
        problems = read_problems(ctx.input(self.problems))
        if not problems:
            raise TrainingError("there are no problems to train on")
        sampler = LocalSampler(text.model, max_rows=self.max_rows)
        collector = TextCollector(
            sampler=sampler,
            problems=problems,
            prompt_ids=[text.prompt(p.prompt) for p in problems],
            decode=text.decode,
            scorer=scorer,
            gold=VerifierScorer(),
            sampling=self.draws.sampling(text.stop_ids),
            problems_per_step=self.problems_per_step,
            group_size=self.group_size,
            seed=ctx.seed,
        )
        journal = _Journal(ctx, self, text, trainer, learner, sampler, collector, reward_model)
        start = journal.restore()
        improve(
            collector,
            learner,
            self.algorithm,
            self._plan(),
            seed=ctx.seed,
            observe=journal.observe,
            start=start,
        )
        journal.finish()
        text.save(ctx.output("model"))

    def _reference(
        self, ctx: Context, text: TextModel
    ) -> tuple[nn.Module | None, Callable[[], AbstractContextManager[None]]]:
        """The adapter switched off, or a frozen copy of the start."""
        if "ref_logprobs" not in self.algorithm.needs():
            return None, nullcontext
        if text.lora:
            return text.model, text.model.disable_adapter  # type: ignore[return-value]
        frozen = open_causal_lm(ctx.input(self.model), self.precision)
        return frozen.requires_grad_(False), nullcontext

    def _scorer(self, ctx: Context) -> tuple[Scorer, RewardModel | None]:
        if self.reward_model is None:
            return VerifierScorer(), None
        model = RewardModel(
            ctx.input(self.reward_model), precision=self.precision, micro_tokens=self.micro_tokens
        )
        return RewardModelScorer(model), model


class _Journal:
    """What is written down after each step: metrics, samples, snapshots, checkpoints."""

    def __init__(
        self,
        ctx: Context,
        stage: RL,
        text: TextModel,
        trainer: Trainer,
        learner: LocalLearner,
        sampler: LocalSampler,
        collector: TextCollector,
        reward_model: RewardModel | None,
    ) -> None:
        self._ctx, self._stage, self._text = ctx, stage, text
        self._trainer, self._learner, self._sampler = trainer, learner, sampler
        self._collector, self._reward_model = collector, reward_model
        self._saver = Checkpointer(ctx, stage.checkpoint_s)
        self._progress = ctx.progress(stage.steps, "step")
        self._samples: list[dict[str, Json]] = []
        self._last = time.perf_counter()

    def restore(self) -> int:
        """The step to go on from."""
        found = self._saver.restore()
        if found is None:
            return 0
        self._trainer.load(found.tensors)
        self._sampler.load(self._learner.snapshot(), found.step)
        state = found.state
        self._learner.trained_tokens = int(str(state["trained_tokens"]))
        self._learner.scored_tokens = int(str(state["scored_tokens"]))
        self._sampler.sampled_tokens = int(str(state["sampled_tokens"]))
        if self._reward_model is not None:
            self._reward_model.scored_tokens = int(str(state["reward_tokens"]))
        samples = state["samples"]
        assert isinstance(samples, list)
        self._samples = [row for row in samples if isinstance(row, dict)]
        return found.step

    def observe(self, step: int, rollout: Rollout, updates: list[Metrics]) -> None:
        """Called by the loop after each step."""
        seconds = time.perf_counter() - self._last
        self._last = time.perf_counter()
        values = {**rollout.metrics, **_signals(rollout), **_summed(updates)}
        values["train/seconds"] = seconds
        self._ctx.metrics.write(step, values)
        self._keep_samples(step)
        shown = f"score {values['rl/score']:.3f}  gold {values['rl/gold']:.3f}"
        if "rl/kl" in values:
            shown += f"  kl {values['rl/kl']:.2f}"
        self._progress.update(step + 1, shown)
        if (step + 1) in self._snapshot_steps():
            self._trainer.model.eval()
            folder = self._snapshots() / f"step-{step + 1:05d}"
            save_snapshot(self._text, folder)
            sync_tree(folder)
        if step + 1 < self._stage.steps:
            self._saver.after_step(step + 1, self._content)

    def finish(self) -> None:
        """Totals for the report."""
        reward_tokens = self._reward_model.scored_tokens if self._reward_model else 0
        self._ctx.spend(
            sampled_tokens=self._sampler.sampled_tokens,
            trained_tokens=self._learner.trained_tokens,
            scored_tokens=self._learner.scored_tokens + reward_tokens,
        )
        out = self._ctx.output("snapshots")
        out.mkdir(parents=True, exist_ok=True)
        for folder in sorted(self._snapshots().glob("step-*")):
            (out / folder.name).mkdir(exist_ok=True)
            for file in sorted(folder.iterdir()):
                link(file, out / folder.name / file.name)
        (out / "kept.txt").write_text("".join(f"{s}\n" for s in sorted(self._snapshot_steps())))

    def _snapshots(self) -> Path:
        """Beside the checkpoints, because outputs of a stage that was cut off are cleared."""
        return self._ctx.checkpoints / "snapshots"

    def _snapshot_steps(self) -> set[int]:
        count, steps = self._stage.num_snapshots, self._stage.steps
        return {max(round(steps * i / (count + 1)), 1) for i in range(1, count + 1)}

    def _keep_samples(self, step: int) -> None:
        for episode in self._collector.episodes[:2]:
            self._samples.append(
                {
                    "step": step,
                    "prompt": episode.problem.prompt.last_user,
                    "completion": episode.text,
                    "score": episode.verdict.score,
                    "gold": episode.gold.score,
                }
            )
        self._ctx.write_samples(self._samples)

    def _content(self) -> tuple[dict[str, Tensor], dict[str, Json]]:
        return self._trainer.tensors(), {
            "trained_tokens": self._learner.trained_tokens,
            "scored_tokens": self._learner.scored_tokens,
            "sampled_tokens": self._sampler.sampled_tokens,
            "reward_tokens": self._reward_model.scored_tokens if self._reward_model else 0,
            "samples": list(self._samples),
        }


def save_snapshot(text: TextModel, out: Path) -> None:
    """A copy of the present weights as a model directory."""
    if text.lora:
        replace(text, model=copy.deepcopy(text.model)).save(out)
    else:
        text.save(out)


def _value_head(model: nn.Module) -> nn.Linear:
    """Starts at zero: before it has learnt anything it must not bias an advantage."""
    head = nn.Linear(int(model.config.hidden_size), 1)  # type: ignore[union-attr,arg-type]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _signals(rollout: Rollout) -> dict[str, float]:
    """Metrics of a rollout that need its annotations."""
    batch, out = rollout.batch, {}
    scored = batch.mask.any(dim=1)
    silent = all_equal(batch.scores, batch.group)
    first = torch.unique(batch.group, return_inverse=True)[1]
    groups = int(first.max()) + 1
    out["rl/zero_groups"] = float(
        torch.zeros(groups).index_fill(0, first[silent], 1.0).sum() / groups
    )
    if batch.ref_logprobs is not None:
        own = batch.sampler_logprobs if batch.old_logprobs is None else batch.old_logprobs
        per_token = torch.where(batch.mask, kl("k1", policy=own, ref=batch.ref_logprobs), 0.0)
        out["rl/kl"] = float(per_token.sum(1)[scored].mean())
    if batch.old_logprobs is not None:
        gap = (batch.old_logprobs - batch.sampler_logprobs)[batch.mask].abs()
        out["rl/sampler_gap"] = float(gap.mean())
    if batch.values is not None and batch.returns is not None:
        returns, values = batch.returns[batch.mask], batch.values[batch.mask]
        if len(returns) > 1:
            out["rl/explained_variance"] = float(1 - (returns - values).var() / returns.var())
        out["rl/return"] = float(torch.where(batch.mask, batch.rewards, 0.0).sum(1)[scored].mean())
    return out


def _summed(updates: Sequence[Metrics]) -> dict[str, float]:
    """Metrics of a step's optimiser updates: means over their decisions."""
    out = {
        "train/loss": sum(u["train/loss"] for u in updates) / max(len(updates), 1),
        "train/grad_norm": sum(u["train/grad_norm"] for u in updates) / max(len(updates), 1),
        "train/lr": updates[-1]["train/lr"] if updates else 0.0,
    }
    decisions = sum(u.get("decisions", 0.0) for u in updates)
    if decisions:
        out["train/trained_tokens"] = decisions
        for name in ("clip_fraction", "approx_kl", "entropy", "value_loss"):
            if any(name in u for u in updates):
                out[f"rl/{name}"] = sum(u.get(name, 0.0) for u in updates) / decisions
    return out
