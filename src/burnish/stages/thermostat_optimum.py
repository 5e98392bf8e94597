"""Learned policies for the thermostat beside the best possible one, day by day."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from safetensors.torch import load_file

from burnish import rng
from burnish.config import plain, require, require_counts
from burnish.data.store import write_rows
from burnish.envs.gym import RULES, Act, Episode, open_copies, play
from burnish.envs.thermostat_optimum import Optimum, solve, swing
from burnish.errors import DataError
from burnish.models.mlp import ActingCopy
from burnish.pipeline.artifact import PolicyRef
from burnish.pipeline.files import read_json
from burnish.pipeline.stage import Context, Work
from burnish.stages.control_scores import Score, greedy
from burnish.stages.report_optimum import EXPECTED, OPTIMUM
from burnish.types import mean

ROOM = "burnish/Thermostat-v0"


@dataclass(frozen=True, kw_only=True)
class ThermostatOptimum:
    """Policies of a control stage -> their scores, and those of value iteration's, on one set of
    days that none was trained on."""

    outputs: ClassVar[Mapping[str, str]] = {"scores": "scores"}

    policy: PolicyRef
    episodes: int = 200
    """Days."""
    spacing_f: float = 0.05
    """Between temperatures of the grid that is solved, in degrees Fahrenheit."""
    num_means: int = 21
    """Mean temperatures outside, from 30 to 50 F, that are solved."""

    def __post_init__(self) -> None:
        require_counts(self, "episodes")
        require(self.num_means >= 2, "num_means must be at least 2")
        require(0 < self.spacing_f <= 0.2, "spacing_f must be in (0, 0.2]: the noise is 0.2 F")

    def work(self) -> Work:
        return Work(seconds=20)

    def scaled(self, factor: float) -> "ThermostatOptimum":
        """Nothing is trained here."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        optimum = solve(spacing_f=self.spacing_f, num_means=self.num_means)
        players: dict[str, Act] = {OPTIMUM: optimum.act, "rule": RULES[ROOM]}
        players |= _learned(ctx, self.policy)
        seed = rng.key(ctx.seed, "days")
        make = partial(open_copies, ROOM)
        rows = []
        progress = ctx.progress(len(players), "policy")
        for name, act in players.items():
            played = play(make, act, episodes=self.episodes, seed=seed)
            rows += [
                Score(model=name, task=ROOM, problem=f"day-{i}", score=e.score, mode="greedy")
                for i, e in enumerate(played)
            ]
            if name == OPTIMUM:
                ctx.tally(EXPECTED, _said(optimum, played))
            progress.update(len(rows) // self.episodes, name)
        write_rows(ctx.output("scores"), [plain(row) for row in rows])


def _learned(ctx: Context, ref: PolicyRef) -> dict[str, Act]:
    """A control stage's policies, without its ablation."""
    folder = ctx.input(ref)
    about = read_json(folder / "config.json") or {}
    if about.get("env") != ROOM:
        raise DataError(f"policy: {ref} is for {about.get('env')}; the optimum is that of {ROOM}")
    names = [str(n) for n in about["policies"] if str(n).startswith("seed-")]
    return {n: greedy(ActingCopy(load_file(folder / f"{n}.safetensors"))) for n in names}


def _said(optimum: Optimum, played: list[Episode]) -> float:
    """What value iteration expects of the days as they begin."""
    starts = [episode.observations[0] for episode in played]
    return mean([optimum.value(inside, outside - swing(0)) for inside, outside in starts])
