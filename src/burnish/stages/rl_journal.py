"""What a reinforcement-learning stage writes down after each step."""

import copy
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from burnish.algos.advantages import all_equal
from burnish.algos.batch import PolicyAlgorithm
from burnish.algos.kl import kl
from burnish.engine.agent_collector import AgentCollector
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Metrics, Rollout
from burnish.engine.reward_model import RewardModel
from burnish.engine.text_collector import TextCollector
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Checkpointer
from burnish.metrics import read_metrics
from burnish.pipeline.files import link_files, sync_tree, write_json
from burnish.pipeline.stage import Context, forwards
from burnish.types import Json

FAILED = "rl/failed/"
SPENT_FILE = "spent.json"
"""Beside a snapshot: its step, and the tokens that it took to get there."""


class Journal:
    """What is written down after each step: metrics, samples, snapshots, checkpoints."""

    def __init__(
        self,
        ctx: Context,
        text: TextModel,
        learner: LocalLearner,
        sampler: LocalSampler,
        collector: TextCollector | AgentCollector,
        reward_models: Sequence[RewardModel],
        *,
        algorithm: PolicyAlgorithm,
        steps: int,
        num_snapshots: int,
        checkpoint_s: float,
        max_forwards: float | None = None,
    ) -> None:
        self._ctx, self._text, self._learner, self._sampler = ctx, text, learner, sampler
        self._collector, self._reward_models = collector, reward_models
        self._steps, self._num_snapshots = steps, num_snapshots
        self._max_forwards = max_forwards
        self.algorithm = algorithm
        """Of the next rollout: a coefficient may adapt."""
        self._saver = Checkpointer(ctx, checkpoint_s)
        self._progress = ctx.progress(steps, "step")
        self._samples: list[dict[str, Json]] = []
        self._last = time.perf_counter()
        self._done = 0

    def restore(self) -> int:
        """The step to go on from."""
        found = self._saver.restore()
        if found is None:
            return 0
        self._learner.load(found.tensors)
        self._sampler.load(self._learner.snapshot(), found.step)
        state = found.state
        self._learner.trained_tokens = int(str(state["trained_tokens"]))
        self._learner.scored_tokens = int(str(state["scored_tokens"]))
        self._sampler.sampled_tokens = int(str(state["sampled_tokens"]))
        if self._reward_models:  # only their sum is told
            self._reward_models[0].scored_tokens = int(str(state["reward_tokens"]))
        self.algorithm = self.algorithm.with_kl_coef(float(str(state["kl_coef"])))
        collector = state.get("collector", {})
        assert isinstance(collector, dict)
        self._collector.restore(collector)
        samples = state["samples"]
        assert isinstance(samples, list)
        self._samples = [row for row in samples if isinstance(row, dict)]
        self._done = found.step
        return found.step

    def observe(
        self,
        step: int,
        rollout: Rollout,
        updates: list[Metrics],
        following: PolicyAlgorithm,
    ) -> None:
        """Called by the loop after each step."""
        self._done = step + 1
        seconds = time.perf_counter() - self._last
        self._last = time.perf_counter()
        values = {**rollout.metrics, **_signals(rollout), **_summed(updates)}
        values["train/seconds"] = seconds
        if rollout.batch.ref_logprobs is not None:
            values["rl/kl_coef"] = self.algorithm.kl_coef
        self.algorithm = following
        self._ctx.metrics.write(step, values)
        self._keep_samples(step)
        shown = f"score {values['rl/score']:.3f}  gold {values['rl/gold']:.3f}"
        if "rl/kl" in values:
            shown += f"  kl {values['rl/kl']:.2f}"
        self._progress.update(step + 1, shown)
        if (step + 1) in self._snapshot_steps():
            self._learner.trainer.model.eval()
            folder = self._snapshots() / f"step-{step + 1:05d}"
            # A kill amid writing leaves half a file under a temporary name, which would be kept.
            shutil.rmtree(folder, ignore_errors=True)
            save_snapshot(self._text, folder)
            write_json(folder / SPENT_FILE, {"step": step + 1, **self._spent()})
            sync_tree(folder)
        if step + 1 < self._steps:
            self._saver.after_step(step + 1, self._content)

    def finish(self) -> None:
        """Totals for the report."""
        self._ctx.spend(**self._spent())
        self._count_failures()
        out = self._ctx.output("snapshots")
        out.mkdir(parents=True, exist_ok=True)
        for folder in sorted(self._snapshots().glob("step-*")):
            link_files(folder, out / folder.name)
        write_json(out / SPENT_FILE, {"step": self._done, **self._spent()})
        (out / "kept.txt").write_text("".join(f"{s}\n" for s in sorted(self._snapshot_steps())))

    def _spent(self) -> dict[str, float]:
        """Tokens so far, by what was done with them."""
        return {
            "sampled_tokens": self._sampler.sampled_tokens,
            "trained_tokens": self._learner.trained_tokens,
            "scored_tokens": self._learner.scored_tokens + self._reward_tokens(),
        }

    def enough(self) -> bool:
        """Whether the stage has taken as many forward passes of one token as it may."""
        most = self._max_forwards
        return most is not None and forwards(**self._spent()) >= most

    def _reward_tokens(self) -> int:
        return sum(model.scored_tokens for model in self._reward_models)

    def _count_failures(self) -> None:
        """The whole stage's, from its metrics: those outlive a kill."""
        rows = list(read_metrics(self._ctx.metrics.path))
        total: Counter[str] = Counter()
        for row in rows:
            for name in row:
                if name.startswith(FAILED):
                    total[name.removeprefix(FAILED)] += int(row[name])
        for cause, number in sorted(total.items()):
            self._ctx.count(f"completions without a reward: {cause.replace('_', ' ')}", number)

    def _snapshots(self) -> Path:
        """Beside the checkpoints, because outputs of a stage that was cut off are cleared."""
        return self._ctx.checkpoints / "snapshots"

    def _snapshot_steps(self) -> set[int]:
        count, steps = self._num_snapshots, self._steps
        return {max(round(steps * i / (count + 1)), 1) for i in range(1, count + 1)}

    def _keep_samples(self, step: int) -> None:
        self._samples += [{"step": step, **row} for row in self._collector.shown(2)]
        self._ctx.write_samples(self._samples)

    def _content(self) -> tuple[dict[str, Tensor], dict[str, Json]]:
        return self._learner.tensors(), {
            "trained_tokens": self._learner.trained_tokens,
            "scored_tokens": self._learner.scored_tokens,
            "sampled_tokens": self._sampler.sampled_tokens,
            "reward_tokens": self._reward_tokens(),
            "kl_coef": self.algorithm.kl_coef,
            "samples": list(self._samples),
            "collector": self._collector.state(),
        }


def save_snapshot(text: TextModel, out: Path) -> None:
    """A copy of the present weights as a model directory."""
    if text.lora:
        replace(text, model=copy.deepcopy(text.model)).save(out)
    else:
        text.save(out)


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
    beside = sum(u.get("beside_trained", 0.0) for u in updates)
    if beside:
        out["rl/beside_nll"] = sum(u["beside_nll"] for u in updates) / beside
    if updates and "value_grad_norm" in updates[0]:
        out["rl/value_grad_norm"] = sum(u["value_grad_norm"] for u in updates) / len(updates)
    decisions = sum(u.get("decisions", 0.0) for u in updates)
    if decisions:
        out["train/trained_tokens"] = decisions
        for name in ("clip_fraction", "approx_kl", "entropy", "value_loss"):
            if any(name in u for u in updates):
                out[f"rl/{name}"] = sum(u.get(name, 0.0) for u in updates) / decisions
        if "rl/ratio_gap" in updates[0]:
            out["rl/ratio_gap"] = updates[0]["rl/ratio_gap"]
    return out
