"""PPO learns to control, at every seed; with its advantages zeroed it does not."""

from pathlib import Path

import pytest

import burnish
from burnish.metrics import read_metrics
from burnish.pipeline.recipe import load
from burnish.pipeline.stage import Context
from burnish.stages import STAGES
from burnish.stages.control import Control

RECIPES = Path(burnish.__file__).parent / "recipes"


def trained(recipe, tmp_path):
    """The recipe as shipped, at three seeds that it does not use itself."""
    stage = load(RECIPES / f"{recipe}.yaml", STAGES, ["control.seeds=3"]).stages["control"]
    ctx = Context.for_test(tmp_path, outputs=Control.outputs, run_seed=11)
    stage.run(ctx)
    return ctx


@pytest.mark.slow
def test_ppo_balances_the_pole_at_each_of_three_seeds_and_not_without_advantages(tmp_path):
    ctx = trained("cartpole", tmp_path)
    assert ctx.tallies.values["worst_seed_score"] >= 475
    rows = list(read_metrics(ctx.metrics.path))
    assert max(row["env/steps"] for row in rows) <= 150_000
    control = [row["env/episode_return"] for row in rows if row["env/trial"] == 3]
    assert max(control) < 60


@pytest.mark.slow
def test_ppo_keeps_the_room_warm_at_each_of_three_seeds(tmp_path):
    ctx = trained("thermostat", tmp_path)
    assert ctx.tallies.values["worst_seed_score"] >= 190
