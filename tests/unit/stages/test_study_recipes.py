"""The studies' recipes, small and on a random model: they run, and their reports check out."""

from pathlib import Path

import pytest

from burnish.cli.recipes import load_recipe
from burnish.data.store import read_rows
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.run import Run
from burnish.stages.report import build_report, write_report
from burnish.stages.report_check import check_report
from tests.unit.cli.tiny_model import write_model

RL = (".steps=2", ".problems_per_step=2", ".group_size=2", ".draws.max_new_tokens=4")
SMALL = {
    "inference_scaling": [
        "sums.num_train=6",
        "sums.num_heldout=8",
        "sums.num_demonstrations=8",
        "sft.passes.max_steps=1",
        "solutions.num_problems=6",
        "solutions.num_samples=2",
        "solutions.draws.max_new_tokens=6",
        "outcome.passes.max_steps=1",
        "outcome.heldout=0.4",
        "parallel.num_problems=6",
        "parallel.num_samples=4",
        "parallel.draws.max_new_tokens=6",
        "sequential.num_problems=6",
        "sequential.budgets=[0, 2, 4]",
        "sequential.draws.max_new_tokens=6",
    ],
    "training_scaling": [
        "sums.num_train=8",
        "sums.num_heldout=8",
        "sft.passes.max_steps=1",
        *(f"{stage}{small}" for stage in ("grpo_4", "grpo_16") for small in RL),
        "grpo_4.steps=4",
        "grpo_4.num_snapshots=3",
        "grpo_16.num_snapshots=1",
        "scaling.draws.max_new_tokens=4",
    ],
    "elicitation": [
        "sums.num_train=8",
        "sums.num_heldout=8",
        "sft.passes.max_steps=1",
        *(f"rlvr{small}" for small in RL),
        "shift_answers.num_problems=12",
        "shift_answers.max_new_tokens=6",
        "shift_sums.num_problems=4",
        "shift_sums.max_new_tokens=4",
        "many_tries.num_problems=4",
        "many_tries.num_samples=32",
        "many_tries.draws.max_new_tokens=3",
        *(f"sft_{size}.passes.max_steps=1" for size in (10, 30, 100, 240)),
        *(f"sft_{size}.passes.batch_rows=2" for size in (10, 30, 100, 240)),
        "few_examples.num_problems=4",
        "few_examples.draws.max_new_tokens=4",
    ],
    "three_kinds": [
        *(f"{env}.seeds=2" for env in ("cartpole", "cartpole_lecture", "thermostat")),
        *(f"{env}.num_envs=2" for env in ("cartpole", "cartpole_lecture", "thermostat")),
        *(f"{env}.rollout_steps=64" for env in ("cartpole", "cartpole_lecture", "thermostat")),
        *(f"{env}.steps=256" for env in ("cartpole", "cartpole_lecture", "thermostat")),
        *(f"{env}.eval_episodes=4" for env in ("cartpole", "cartpole_lecture", "thermostat")),
        "cartpole.ablate_advantages=false",
        "optimum.episodes=4",
        "optimum.spacing_f=0.2",
        "optimum.num_means=3",
        "sums.num_train=8",
        "sums.num_heldout=4",
        "sft.passes.max_steps=1",
        "samples.num_problems=32",
        "samples.num_samples=4",
        "samples.draws.max_new_tokens=12",
        "reward.heldout=0.4",
        "reward.passes.max_steps=1",
        *(f"rlhf{small}" for small in RL),
        *(f"rlvr{small}" for small in RL),
        "evaluate.num_problems=3",
        "evaluate.draws.max_new_tokens=4",
    ],
}
SHOWN = {
    "inference_scaling": ["scaling", "sequential"],
    "training_scaling": ["training-scaling"],
    "elicitation": ["scaling", "shift", "crossing", "examples"],
    "three_kinds": ["kinds", "optimum"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("name", SMALL)
def test_a_study_runs_and_its_report_checks_out(name: str, model: Path, tmp_path: Path) -> None:
    run = execute(load_recipe(name, [f"base.name={model}", *SMALL[name]]), tmp_path, cache=tmp_path)
    write_report(tmp_path)
    assert check_report(tmp_path) == []
    report = build_report(tmp_path)
    for section in SHOWN[name]:
        assert f'<section id="{section}"' in report.html
    assert report.run.problems == []
    if name == "elicitation":
        _elicitation(run)
    if name == "three_kinds":
        _kinds(tmp_path)


def _elicitation(run: Run) -> None:
    scores = read_rows(run.artifact(Ref("few_examples", "scores")))
    assert list(dict.fromkeys(r["model"] for r in scores)) == [
        "base", "sft_10", "sft_30", "sft_100", "sft_240",
    ]  # fmt: skip


def _kinds(root: Path) -> None:
    """What the table says is what the recipe and the run's files say."""
    entries = build_report(root).numbers.entries
    values = {key: entry.value for key, entry in entries.items() if key.startswith("kinds/")}
    assert values["kinds/cartpole/horizon"] == 500
    assert values["kinds/thermostat/horizon"] == 200
    assert values["kinds/rlvr/horizon"] == 4
    assert values["kinds/cartpole/gamma"] == 0.99
    assert values["kinds/thermostat/gamma"] == 0.95
    assert values["kinds/rlhf/gamma"] == 1.0 and "kinds/rlvr/gamma" not in values
    # two hidden layers of 64 each for actor (2 actions) and critic, and what inputs are scaled by
    networks = 2 * (64 * 4 + 64 + 64 * 64 + 64) + 64 * 2 + 2 + 64 + 1
    assert values["kinds/cartpole/parameters"] == networks + 2 * 4
    assert values["kinds/cartpole/decisions"] == 2 * 256
