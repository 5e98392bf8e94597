"""Classical control: PPO on a Gymnasium environment, over several independent trainings.

The algorithm, the loop and the batch are those of text; only the collector and the networks differ.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from burnish import rng
from burnish.algos.batch import PolicyAlgorithm
from burnish.algos.ppo import PPO
from burnish.config import plain, require
from burnish.data.store import write_rows
from burnish.engine.ablation import ZeroAdvantages
from burnish.engine.checkpoint import load_latest, save_checkpoint
from burnish.engine.gym_collector import GymCollector
from burnish.engine.improve import Plan, improve
from burnish.engine.mlp_learner import MLPLearner
from burnish.engine.optim import Optim
from burnish.engine.protocols import Metrics, Rollout
from burnish.envs.gym import EnvPool, env_sizes, open_copies
from burnish.errors import CheckpointError, Interrupted
from burnish.metrics import read_metrics
from burnish.models.mlp import ActorCritic
from burnish.pipeline.files import write_json
from burnish.pipeline.stage import Context, Work
from burnish.stages.control_scores import ControlScores, portraits, score_policies
from burnish.types import Json, mean

STEPS_PER_SECOND = 15_000.0
"""On one laptop core, updates included: for estimates of cost only."""
CONTROL = "zero-advantages"
"""The training whose advantages are thrown away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One independent training."""

    name: str
    index: int
    seed: int
    algorithm: PolicyAlgorithm


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """Train and evaluate policies for a Gymnasium environment."""

    outputs: ClassVar[Mapping[str, str]] = {
        "policy": "policy",
        "scores": "scores",
        "curves": "curves",
    }

    env: str
    """Gymnasium's name, such as CartPole-v1 or burnish/Thermostat-v0."""
    algorithm: PPO
    optim: Optim
    steps: int
    """Environment steps of each training, at most; whole rollouts only."""
    seeds: int = 1
    """Independent trainings, each evaluated by itself."""
    num_envs: int = 16
    """Copies of the environment that are stepped together."""
    rollout_steps: int = 128
    """Steps of each copy between updates."""
    epochs: int = 4
    minibatches: int = 8
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, of actor and critic each."""
    observation_center: tuple[float, ...] = ()
    """The networks read (observation - center) / scale; empty reads observations as they are."""
    observation_scale: tuple[float, ...] = ()
    eval_episodes: int = 100
    """Episodes of each evaluation, none of them seen in training."""
    ablate_advantages: bool = False
    """Train once more with all advantages zero, as a control."""
    checkpoint_every: int = 10
    """Rollouts between checkpoints."""

    def __post_init__(self) -> None:
        sizes = ("seeds", "num_envs", "rollout_steps", "eval_episodes", "checkpoint_every")
        for name in sizes:
            require(dataclasses.asdict(self)[name] >= 1, f"{name} must be at least 1")
        batch = self.num_envs * self.rollout_steps
        require(self.steps >= batch, f"steps must be at least num_envs * rollout_steps = {batch}")
        require(self.minibatches <= batch, f"minibatches must be at most {batch}")
        require(all(width >= 1 for width in self.hidden), "hidden widths must be at least 1")
        require(self.algorithm.kl_coef == 0, "algorithm.kl_coef must be 0: there is no reference")
        num_observations, _ = env_sizes(self.env)
        for name in ("observation_center", "observation_scale"):
            given = len(dataclasses.asdict(self)[name])
            right = given in (0, num_observations)
            require(right, f"{name} must have {num_observations} numbers, not {given}")
        require(all(s > 0 for s in self.observation_scale), "observation_scale must be above 0")
        self.plan()

    def plan(self) -> Plan:
        """The rollouts of one training, and how each is used."""
        return Plan(
            steps=self.steps // (self.num_envs * self.rollout_steps),
            epochs=self.epochs,
            minibatches=self.minibatches,
            by_decision=True,
        )

    def trials(self, seed: int) -> list[Trial]:
        """The trainings; the ablation, where wanted, starts from the first one's seed."""
        keys = [rng.key(seed, "trial", i) for i in range(self.seeds)]
        trials = [
            Trial(name=f"seed-{i}", index=i, seed=key, algorithm=self.algorithm)
            for i, key in enumerate(keys)
        ]
        if self.ablate_advantages:
            control = ZeroAdvantages(self.algorithm)
            trials.append(Trial(name=CONTROL, index=self.seeds, seed=keys[0], algorithm=control))
        return trials

    def work(self) -> Work:
        """Seconds of stepping and updating; no tokens."""
        num_trials = self.seeds + self.ablate_advantages
        return Work(seconds=num_trials * self.steps / STEPS_PER_SECOND)

    def scaled(self, factor: float) -> "Control":
        """The same with about `factor` of the steps, and at least one rollout."""
        smallest = self.num_envs * self.rollout_steps
        return replace(self, steps=max(smallest, round(self.steps * factor)))

    def run(self, ctx: Context) -> None:
        trials = self.trials(ctx.seed)
        with _one_thread():
            policies = {trial.name: train(self, trial, ctx) for trial in trials}
            learned = {k: v for k, v in policies.items() if k != CONTROL}
            control = {k: v for k, v in policies.items() if k == CONTROL}
            scores = score_policies(
                self.env,
                learned | {f"{k}-greedy": v for k, v in control.items()},
                control,
                episodes=self.eval_episodes,
                seed=rng.key(ctx.seed, "evaluate"),
            )
            pictures = portraits(self.env, policies["seed-0"], seed=rng.key(ctx.seed, "portrait"))
        folder = ctx.output("policy")
        folder.mkdir(parents=True, exist_ok=True)
        for name, weights in policies.items():
            save_file(dict(weights), folder / f"{name}.safetensors")
        about = {"env": self.env, "hidden": list(self.hidden), "policies": list(policies)}
        write_json(folder / "config.json", about)
        write_rows(ctx.output("scores"), [plain(row) for row in scores.rows])
        training = {"threshold": scores.threshold, "training": _curves(trials, ctx)}
        write_json(ctx.output("curves"), training | pictures)
        _remark(scores, list(learned), ctx)


def assemble(config: Control, trial: Trial) -> tuple[GymCollector, MLPLearner]:
    """The two halves of a training, at its beginning; the collector is to be closed."""
    plan = config.plan()
    num_observations, num_actions = env_sizes(config.env)
    model = ActorCritic(
        num_observations=num_observations,
        num_actions=num_actions,
        hidden=config.hidden,
        seed=rng.key(trial.seed, "init"),
        center=config.observation_center,
        scale=config.observation_scale,
    )
    num_updates = plan.steps * plan.epochs * plan.minibatches
    learner = MLPLearner(model, config.optim, num_updates=num_updates)
    pool = EnvPool(partial(open_copies, config.env), config.num_envs, trial.seed)
    collector = GymCollector(
        pool, learner.snapshot(), rollout_steps=config.rollout_steps, seed=trial.seed
    )
    return collector, learner


def train(config: Control, trial: Trial, ctx: Context) -> Mapping[str, Tensor]:
    """Train one policy, from its last checkpoint if there is one; returns its weights.

    Raises:
        Interrupted: the context asked to stop; a checkpoint has been written.
    """
    plan = config.plan()
    collector, learner = assemble(config, trial)
    folder = ctx.checkpoints / trial.name
    start = _resume(folder, learner, collector)
    first_row = trial.index * plan.steps
    if start < plan.steps:
        ctx.metrics.rewind(first_row + start)
    progress = ctx.progress(plan.steps, "rollout")
    clock = time.perf_counter()

    def observe(
        step: int, rollout: Rollout, updates: list[Metrics], following: PolicyAlgorithm
    ) -> None:
        del following
        nonlocal clock
        now = time.perf_counter()
        rate = rollout.batch.mask.numel() / (now - clock)
        clock = now
        row = {"env/trial": float(trial.index), "env/steps_per_second": rate}
        ctx.metrics.write(first_row + step, row | _summary(rollout, updates))
        progress.update(
            step + 1, f"{trial.name} {rollout.metrics.get('env/episode_return', 0):.0f}"
        )
        stopping = ctx.stopping()
        if stopping or (step + 1) % config.checkpoint_every == 0 or step + 1 == plan.steps:
            save_checkpoint(folder, step + 1, learner.tensors(), collector.state())
        if stopping:
            raise Interrupted

    improve(
        collector, learner, trial.algorithm, plan, seed=trial.seed, observe=observe, start=start
    )
    collector.close()
    return learner.snapshot()


def _resume(folder: Path, learner: MLPLearner, collector: GymCollector) -> int:
    saved = load_latest(folder)
    if saved is None:
        return 0
    try:
        learner.load(saved.tensors)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: does not fit this network; delete it") from error
    collector.restore(saved.state)
    collector.sync(learner, saved.step)
    return saved.step


def _summary(rollout: Rollout, updates: list[Metrics]) -> dict[str, float]:
    """One row of metrics: means over the updates, but the first one's ratio gap."""
    row = {name: mean([u[name] for u in updates]) for name in updates[0]}
    row["rl/ratio_gap"] = updates[0]["rl/ratio_gap"]
    batch = rollout.batch
    if batch.returns is not None and batch.values is not None:
        spread = float(batch.returns.var())
        missed = float((batch.returns - batch.values).var())
        row["rl/explained_variance"] = 1 - missed / spread if spread > 0 else float("nan")
    return row | dict(rollout.metrics)


def _curves(trials: list[Trial], ctx: Context) -> list[dict[str, Json]]:
    """Steps and returns of each training, from the metrics: they outlive a kill."""
    rows = [row for row in read_metrics(ctx.metrics.path) if "env/episode_return" in row]
    curves: list[dict[str, Json]] = []
    for trial in trials:
        own = [row for row in rows if row["env/trial"] == trial.index]
        steps: list[Json] = [row["env/steps"] for row in own]
        returns: list[Json] = [row["env/episode_return"] for row in own]
        curves.append({"policy": trial.name, "env_steps": steps, "episode_return": returns})
    return curves


def _remark(scores: ControlScores, learned: Sequence[str], ctx: Context) -> None:
    means = [scores.mean(name) for name in learned]
    ctx.tally("worst_seed_score", min(means))
    if scores.threshold is not None:
        solved = sum(score >= scores.threshold for score in means)
        ctx.tally("solved_seeds", solved)
        ctx.note(f"{solved} of {len(means)} trainings reach the threshold of {scores.threshold:g}")
    if any(row.model == CONTROL for row in scores.rows):
        ctx.note(
            f"{CONTROL} has learnt nothing: sampled it scores what chance does; its greedy score "
            "is whatever its initial weights happen to do"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """These networks are too small to share out, and one thread adds in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
