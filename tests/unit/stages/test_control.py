import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import burnish
from burnish import rng
from burnish.algos.ppo import PPO
from burnish.config import build
from burnish.engine.optim import Optim
from burnish.errors import CheckpointError, ConfigError, Interrupted, RunError
from burnish.metrics import read_metrics
from burnish.models.mlp import ActorCritic
from burnish.pipeline.recipe import dump, load
from burnish.pipeline.stage import Context
from burnish.stages import STAGES
from burnish.stages.control import Control
from burnish.stages.control_figures import control_figures

SMALL = Control(
    env="CartPole-v1",
    algorithm=PPO(gamma=0.99, value_coef=0.5, value_clip=0.0),
    optim=Optim(lr=1e-2, schedule="linear", eps=1e-5, max_grad_norm=0.5),
    steps=480,
    seeds=2,
    num_envs=3,
    rollout_steps=16,
    epochs=2,
    minibatches=2,
    hidden=(8,),
    eval_episodes=5,
    ablate_advantages=True,
    checkpoint_every=4,
)
ROLLOUTS = 10
THERMOSTAT = replace(
    SMALL,
    env="burnish/Thermostat-v0",
    observation_center=(70.0, 40.0),
    observation_scale=(10.0, 10.0),
    ablate_advantages=False,
    seeds=1,
)


def context(path, stopping=lambda: False):
    return Context.for_test(path, outputs=Control.outputs, run_seed=7, stopping=stopping)


def finished(config, path):
    ctx = context(path)
    config.run(ctx)
    return ctx


def hashes(ctx):
    files = sorted(p for p in (ctx.dir / "artifacts").rglob("*") if p.is_file())
    return {
        p.relative_to(ctx.dir).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def steady_metrics(ctx):
    rows = list(read_metrics(ctx.metrics.path))
    return [{k: v for k, v in row.items() if k != "env/steps_per_second"} for row in rows]


@pytest.mark.parametrize("config", [SMALL, THERMOSTAT], ids=["cart", "room"])
def test_a_stopped_and_resumed_run_ends_with_the_same_bytes(config, tmp_path):
    whole = finished(config, tmp_path / "whole")
    calls = 0

    def stop_at_the_third_and_seventh() -> bool:
        nonlocal calls
        calls += 1
        return calls in (3, 7)

    for _ in range(2):
        with pytest.raises(Interrupted):
            config.run(context(tmp_path / "cut", stop_at_the_third_and_seventh))
    cut = finished(config, tmp_path / "cut")
    assert hashes(cut) == hashes(whole)
    assert steady_metrics(cut) == steady_metrics(whole)


def test_a_run_killed_between_checkpoints_repeats_what_was_lost(tmp_path):
    whole = finished(SMALL, tmp_path / "whole")

    class Killed(BaseException):
        pass

    calls = 0

    def kill_in_the_second_training() -> bool:
        nonlocal calls
        calls += 1
        if calls == ROLLOUTS + 7:  # its last checkpoint is of rollout 4
            raise Killed
        return False

    with pytest.raises(Killed):
        SMALL.run(context(tmp_path / "cut", kill_in_the_second_training))
    cut = finished(SMALL, tmp_path / "cut")
    assert hashes(cut) == hashes(whole)
    assert steady_metrics(cut) == steady_metrics(whole)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        SMALL.run(context(tmp_path, lambda: True))
    with pytest.raises(CheckpointError, match="does not fit this network"):
        replace(SMALL, hidden=(9,)).run(context(tmp_path))


def test_scores_cover_every_policy_on_the_same_episodes(tmp_path):
    ctx = finished(SMALL, tmp_path)
    rows = [json.loads(line) for line in ctx.output("scores").read_text().splitlines()]
    models = {row["model"]: row["mode"] for row in rows}
    assert models == {
        "random": "sampled",
        "rule": "greedy",
        "seed-0": "greedy",
        "seed-1": "greedy",
        "zero-advantages-greedy": "greedy",
        "zero-advantages": "sampled",
    }
    assert len(rows) == len(models) * SMALL.eval_episodes
    assert {row["problem"] for row in rows} == {f"episode-{i}" for i in range(5)}
    assert ctx.tallies.values["solved_seeds"] == 0


def test_trainings_differ_by_their_seed_alone(tmp_path):
    folder = finished(SMALL, tmp_path).output("policy")
    first, second = (load_file(folder / f"seed-{i}.safetensors") for i in (0, 1))
    assert not torch.equal(first["actor.2.weight"], second["actor.2.weight"])
    longer = finished(replace(SMALL, seeds=1, ablate_advantages=False), tmp_path / "alone")
    alone = load_file(longer.output("policy") / "seed-0.safetensors")
    assert all(torch.equal(alone[k], first[k]) for k in first)


def test_zeroed_advantages_leave_the_actor_as_it_began_while_the_critic_learns(tmp_path):
    ctx = finished(SMALL, tmp_path)
    trained = load_file(ctx.output("policy") / "zero-advantages.safetensors")
    seed = rng.key(rng.key(ctx.seed, "trial", 0), "init")
    fresh = ActorCritic(num_observations=4, num_actions=2, hidden=(8,), seed=seed).state()
    for name, weights in trained.items():
        assert torch.equal(weights, fresh[name]) != name.startswith("critic")


def test_metrics_are_finite_and_count_every_step(tmp_path):
    rows = steady_metrics(finished(SMALL, tmp_path))
    assert [row["step"] for row in rows] == list(range(3 * ROLLOUTS))
    assert [row["env/steps"] for row in rows[:ROLLOUTS]] == list(range(48, 481, 48))
    assert [row["env/trial"] for row in rows[::ROLLOUTS]] == [0, 1, 2]
    assert all(v is not None and math.isfinite(v) for row in rows for v in row.values())
    assert all(row["rl/ratio_gap"] < 1e-5 for row in rows)


def test_figures_are_drawn_from_the_curves(tmp_path):
    cart = control_figures(finished(SMALL, tmp_path / "cart").dir)
    assert [f["title"] for f in cart] == [
        "Return while training",
        "When the learned policy pushes right",
    ]
    assert [line.y0 for line in cart[0]["figure"].layout.shapes] == [475]
    assert [line.name for line in cart[0]["figure"].data] == ["seed-0", "seed-1", "zero-advantages"]
    push_right = cart[1]["figure"].data[0].z
    assert all(0 <= chance <= 1 for row in push_right for chance in row)
    room = control_figures(finished(THERMOSTAT, tmp_path / "room").dir)
    day = room[2]["figure"].data
    assert [trace.name for trace in day] == ["heater on", "inside", "outside"]
    assert len(day[0].x) == 200 and max(day[0].x) < 24


def test_an_unfinished_stage_has_no_figures_and_damaged_curves_are_refused(tmp_path):
    assert control_figures(tmp_path) == []
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "curves.json").write_text("{")
    with pytest.raises(RunError, match=r"curves\.json: cannot be read"):
        control_figures(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": "CartPole-v9"}, "did you mean `CartPole-v"),
        ({"env": "Pendulum-v1"}, "actions must be a choice"),
        ({"steps": 47}, "at least num_envs \\* rollout_steps = 48"),
        ({"minibatches": 49}, "at most 48"),
        ({"minibatches": 0}, "minibatches must be at least 1"),
        ({"eval_episodes": 0}, "eval_episodes must be at least 1"),
        ({"hidden": [8, 0]}, "hidden widths"),
        ({"algorithm": {"kl_coef": 0.1}}, "there is no reference"),
        ({"observation_scale": [1.0]}, "must have 4 numbers, not 1"),
        ({"observation_scale": [1.0, 0, 1, 1]}, "above 0"),
    ],
)
def test_a_wrong_knob_is_refused_by_name(change, message):
    good = {"env": "CartPole-v1", "algorithm": {}, "optim": {"lr": 1e-3}, "steps": 480}
    good |= {"num_envs": 3, "rollout_steps": 16}
    build(Control, good)
    with pytest.raises(ConfigError, match=message):
        build(Control, good | change)


def test_a_smaller_budget_takes_fewer_steps_and_at_least_one_rollout():
    assert SMALL.scaled(0.5).plan().steps == ROLLOUTS // 2
    assert SMALL.scaled(0.0).plan().steps == 1
    assert SMALL.scaled(0.5).work().seconds == pytest.approx(SMALL.work().seconds / 2)


@pytest.mark.parametrize("name", ["cartpole", "thermostat"])
def test_recipes_load_round_trip_and_give_the_source_of_every_number(name, tmp_path):
    path = Path(burnish.__file__).parent / "recipes" / f"{name}.yaml"
    recipe = load(path, STAGES)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(recipe))
    assert load(copy, STAGES) == recipe
    inside = path.read_text().partition("stages:")[2].partition("sources:")[0].splitlines()
    numbers = [line for line in inside if any(c.isdigit() for c in line.partition("#")[0])]
    assert len(numbers) > 12
    for line in numbers:
        assert "#" in line, line
        key = line.partition(":")[0].strip()
        assert key == "env" or any(k.endswith("." + key) for k in recipe.sources), key
