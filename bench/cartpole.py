"""PPO on CartPole-v1 against stable-baselines3's: steps a second, and seconds until it is solved.

    python -m bench.cartpole [--rounds 3] [--seed 0] [--every 2048]

In each round every side trains from a seed of that round, as long as its settings say or until its
likeliest actions score 475 in the mean of 100 episodes, Gymnasium's criterion. One evaluator plays
those for all sides, after the first rollout past each `--every` environment steps; its time counts
for none, and neither does a short training before, in which what is imported late is imported. A
step of the table is a rollout with its updates.

Stable-baselines3 runs with its defaults; with the settings of rl-baselines3-zoo, which were tuned
for CartPole; and with those of Burnish's recipe.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import burnish
from bench.duel import Timed, duel, turns
from burnish import rng
from burnish.engine.improve import improve
from burnish.envs.gym import open_copies, play
from burnish.models.mlp import ActingCopy
from burnish.pipeline.recipe import load
from burnish.stages import STAGES
from burnish.stages.control import Control, assemble
from burnish.stages.control_scores import greedy
from burnish.types import mean

ENV = "CartPole-v1"
GOAL = 475.0
EPISODES = 100
WARM_UP = 2
"""Rollouts of the training before."""
Knobs = Mapping[str, Any]


def recipe() -> Control:
    """The training of the shipped one."""
    path = Path(burnish.__file__).parent / "recipes" / "cartpole.yaml"
    stage = load(path, STAGES).stages["control"]
    assert isinstance(stage, Control)
    return stage


class Over(Exception):
    """The training has gone on for long enough."""


class Race:
    """The clock of one training, which stands while the policy is evaluated."""

    def __init__(self, given: argparse.Namespace, *, rollout: int, rollouts: int | None) -> None:
        """rollout: environment steps of one. rollouts: how many at most; None: all."""
        self._every, self._seed = given.every, given.seed
        self._rollout, self._rollouts = rollout, rollouts
        self._seconds: list[float] = []
        self._solved = False
        self._since = time.perf_counter()

    def rollout_done(self, weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Call after each rollout's updates. Raises: Over."""
        self._seconds.append(time.perf_counter() - self._since)
        done = len(self._seconds)
        if (done - 1) * self._rollout // self._every < done * self._rollout // self._every:
            act = greedy(ActingCopy(weights()))
            seed = rng.key(self._seed, "evaluate")
            played = play(partial(open_copies, ENV), act, episodes=EPISODES, seed=seed)
            self._solved = mean([episode.score for episode in played]) >= GOAL
        if self._solved or done == self._rollouts:
            raise Over
        self._since = time.perf_counter()

    def timed(self) -> Timed:
        """What it found."""
        goal_s = sum(self._seconds) if self._solved else float("inf")
        return Timed(seconds=self._seconds, tokens=self._rollout, goal_s=goal_s)


def ours(given: argparse.Namespace) -> Timed:
    torch.set_num_threads(1)  # as the stage does
    config = recipe()
    trial = config.trials(given.seed)[0]

    def train(rollouts: int | None) -> Timed:
        size = config.num_envs * config.rollout_steps
        race = Race(given, rollout=size, rollouts=rollouts)
        collector, learner = assemble(config, trial)

        def observe(*_: object) -> None:
            race.rollout_done(learner.snapshot)

        with suppress(Over):
            plan = config.plan()
            improve(collector, learner, trial.algorithm, plan, seed=trial.seed, observe=observe)
        collector.close()
        return race.timed()

    train(WARM_UP)
    return train(None)


def theirs(
    given: argparse.Namespace, *, knobs: Knobs, copies: int, steps: int, threads: int
) -> Timed:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(threads)

    class Watch(BaseCallback):  # type: ignore[misc]
        """A rollout's updates are done when the next one starts."""

        def __init__(self, race: Race) -> None:
            super().__init__()
            self._race, self._begun = race, False

        def _on_rollout_start(self) -> None:
            if self._begun:
                self._race.rollout_done(lambda: weights_of(self.model))
            self._begun = True

        def _on_training_end(self) -> None:
            self._race.rollout_done(lambda: weights_of(self.model))

        def _on_step(self) -> bool:
            return True

    def train(rollouts: int | None) -> Timed:
        race = Race(given, rollout=copies * knobs.get("n_steps", 2048), rollouts=rollouts)
        env = make_vec_env(ENV, copies, seed=given.seed)
        model = PPO("MlpPolicy", env, device="cpu", seed=given.seed, **knobs)
        with suppress(Over):
            model.learn(steps, callback=Watch(race), log_interval=None)
        env.close()
        return race.timed()

    train(WARM_UP)
    return train(None)


def weights_of(model: Any) -> dict[str, Tensor]:
    """Stable-baselines3's actor, under the names that Burnish gives its own."""
    state = model.policy.state_dict()
    names = {"mlp_extractor.policy_net.0": 0, "mlp_extractor.policy_net.2": 2, "action_net": 4}
    found = {
        f"actor.{place}.{part}": state[f"{name}.{part}"].detach()
        for name, place in names.items()
        for part in ("weight", "bias")
    }
    width = found["actor.0.weight"].shape[1]
    return {**found, "center": torch.zeros(width), "scale": torch.ones(width)}


def falling(start: float) -> Callable[[float], float]:
    """Linear, to zero at the end of the training."""
    return lambda remaining: start * remaining


def as_ours() -> tuple[Knobs, int, int]:
    """The recipe's settings, its copies of the environment and its steps."""
    config = recipe()
    assert config.hidden == (64, 64) and config.optim.schedule == "linear"
    knobs = {
        "n_steps": config.rollout_steps,
        "batch_size": config.num_envs * config.rollout_steps // config.minibatches,
        "n_epochs": config.epochs,
        "learning_rate": falling(config.optim.lr),
        "clip_range": config.algorithm.clip,
        "gamma": config.algorithm.gamma,
        "gae_lambda": config.algorithm.gae_lambda,
        "vf_coef": config.algorithm.value_coef,
        "ent_coef": config.algorithm.entropy_coef,
        "max_grad_norm": config.optim.max_grad_norm,
    }
    return knobs, config.num_envs, config.steps


ZOO: Knobs = {
    "n_steps": 32,
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "n_epochs": 20,
    "ent_coef": 0.0,
    "learning_rate": falling(0.001),
    "clip_range": falling(0.2),
}
"""Of rl-baselines3-zoo, hyperparams/ppo.yml, with 8 copies and 100,000 steps."""


def main() -> None:
    parser = turns(__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, default=2048, help="steps between evaluations")
    knobs, copies, steps = as_ours()
    sides = {"burnish": ours}
    for threads in (1, 2):
        zoo = partial(theirs, knobs=ZOO, copies=8, steps=100_000, threads=threads)
        same = partial(theirs, knobs=knobs, copies=copies, steps=steps, threads=threads)
        sides[f"sb3, zoo settings, {threads} threads"] = zoo
        sides[f"sb3, our settings, {threads} threads"] = same
    sides["sb3, defaults, 1 threads"] = partial(theirs, knobs={}, copies=1, steps=steps, threads=1)
    duel("bench.cartpole", sides, parser.parse_args(), unit="env steps")


if __name__ == "__main__":
    main()
