"""Sweeps: the four recipes end to end, sharing, going on, the table by hand, and tampering."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from bench import sweep_curves
from burnish.cli.recipes import load_recipe
from burnish.cli.sweeping import sweep
from burnish.data.store import read_rows
from burnish.errors import ConfigError, Interrupted
from burnish.evals.stats import mean_interval
from burnish.pipeline import executor
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.run import Run
from burnish.stages.sweep import Axis, Sweep, check_stages, chosen, grid, points
from burnish.stages.sweep_page import check_sweep, grouped, write_sweep
from tests.unit.cli.tiny_model import write_model

SMALL = {
    "sft-data": (
        "sums.num_demonstrations=4,9",
        ["sums.num_heldout=4", "evaluate.draws.max_new_tokens=3"],
    ),
    "reward-size": (
        "small.num_layers=1,2",
        ["samples.num_problems=10", "samples.draws.max_new_tokens=4", "reward.passes.max_steps=1"],
    ),
    "dpo-beta": (
        "dpo.algorithm.beta=0.05,0.5",
        ["samples.num_problems=10", "samples.draws.max_new_tokens=4", "dpo.passes.max_steps=2",
         "evaluate.num_problems=4", "evaluate.draws.max_new_tokens=3"],
    ),
    "group-size": (
        "rl.group_size=2,3",
        ["sft.passes.max_steps=1", "rl.steps=1", "rl.problems_per_step=2", "sums.num_heldout=4",
         "rl.draws.max_new_tokens=3", "evaluate.draws.max_new_tokens=3"],
    ),
}  # fmt: skip
METRICS = {"reward-size": ["reward.reward/heldout_accuracy"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def run_sweep(name: str, model: Path, out: Path, seeds: int = 1) -> None:
    over, small = SMALL[name]
    sweep(name, [over], seeds, METRICS.get(name), [f"base.name={model}", *small], None, out, "cpu")


@pytest.mark.parametrize("name", SMALL)
def test_each_recipe_of_a_sweep_gives_a_page_that_stands_up_to_checking(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(name, model, tmp_path / "out")
    found = points(Sweep.read(tmp_path / "out"), tmp_path / "out")
    assert found and all(len(p) == 2 for p in found.values())
    assert check_sweep(tmp_path / "out") == []
    picture = tmp_path / "sweep.svg"
    monkeypatch.setattr(sys, "argv", ["bench.sweep_curves", str(tmp_path / "out"), str(picture)])
    sweep_curves.main()
    text = picture.read_text()
    assert [key for key in found if key not in text] == []


def test_what_does_not_vary_is_computed_once_and_nothing_again(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep("dpo-beta", model, out)
    runs = [Run.open(out / v.folder) for v in Sweep.read(out).variants]
    files = [{s.name: (s.dir / "stage.json").stat().st_ino for s in run.stages()} for run in runs]
    same = {name for name in files[0] if files[0][name] == files[1][name]}
    assert same == {"base", "everyday", "samples", "comparisons"}
    run_sweep("dpo-beta", model, out)
    again = [{s.name: (s.dir / "stage.json").stat().st_ino for s in run.stages()} for run in runs]
    assert again == files


def test_a_sweep_that_was_stopped_goes_on_and_keeps_what_was_finished(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0

    def stopped(*args: Any, **more: Any) -> Run:
        nonlocal begun
        begun += 1
        if begun == 2:
            raise Interrupted(15)
        return execute(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(executor, "execute", stopped)
        with pytest.raises(typer.Exit):
            run_sweep("sft-data", model, tmp_path / "out")
    definition = Sweep.read(tmp_path / "out")
    first, second = (tmp_path / "out" / v.folder for v in definition.variants)
    done = (Run.open(first).stage("sft").dir / "stage.json").stat().st_ino
    assert not (second / "recipe.yaml").exists()
    run_sweep("sft-data", model, tmp_path / "out")
    assert (Run.open(first).stage("sft").dir / "stage.json").stat().st_ino == done
    assert Run.open(second).finished() and check_sweep(tmp_path / "out") == []


def test_a_mean_is_that_of_the_seeds_with_its_interval(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep("sft-data", model, out, seeds=2)
    definition = Sweep.read(out)
    (metric,) = definition.metrics
    assert metric.startswith("evaluate.sft.") and metric.endswith(".accuracy")
    (first, _) = grouped(definition, points(definition, out)[metric])
    values = []
    for point in first.points:
        rows = read_rows(Run.open(out / point.variant.folder).artifact(Ref("evaluate", "scores")))
        values.append(sum(bool(r["passed"]) for r in rows) / len(rows))
    assert [p.value for p in first.points] == values and len(values) == 2
    assert first.interval == mean_interval(values, binary=False)
    assert [p.variant.seed for p in first.points] == [0, 1]


def test_an_edited_number_page_or_file_shows(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep("sft-data", model, out)
    numbers = json.loads((out / "sweep.json").read_text())
    numbers["variants"]["value"] = 7
    (out / "sweep.json").write_text(json.dumps(numbers))
    assert any("variants is 7" in line for line in check_sweep(out))
    write_sweep(out)
    page = (out / "sweep.html").read_text()
    (out / "sweep.html").write_text(page.replace("have finished", "have failed"))
    assert check_sweep(out) == ["sweep.html: text on the page is not what files give"]
    write_sweep(out)
    scores = Run.open(out / Sweep.read(out).variants[0].folder).artifact(Ref("evaluate", "scores"))
    scores.write_text(scores.read_text().replace('"passed": false', '"passed": true'))
    assert any("SHA-256" in line for line in check_sweep(out))


def test_a_grid_is_every_combination_under_every_seed() -> None:
    axes = (Axis.parse("sft.optim.lr=1e-5,5e-5"), Axis.parse("sft.passes.batch_rows=4,8"))
    made = grid(lambda own: load_recipe("hello", own), axes, 3)
    assert len(made) == 12 and len({v.folder for v, _ in made}) == 12
    assert {r.seed for _, r in made} == {0, 1, 2}
    assert made[0][0].settings == {"sft.optim.lr": "1e-5", "sft.passes.batch_rows": "4"}
    wider = grid(lambda own: load_recipe("hello", own), (axes[0],), 1)
    longer = (replace_values(axes[0], "1e-5", "2e-5", "5e-5"),)
    assert {v.folder for v, _ in wider} < {
        v.folder for v, _ in grid(lambda own: load_recipe("hello", own), longer, 1)
    }


def replace_values(axis: Axis, *values: str) -> Axis:
    return Axis(key=axis.key, values=values)


@pytest.mark.parametrize(
    ("text", "says"),
    [("sft.optim.lr", "write it as"), ("sft.optim.lr=", "write it as"), ("a.b=1,1", "twice")],
)
def test_what_is_no_axis_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Axis.parse(text)


def test_unknown_keys_stages_and_metrics_are_one_line_with_a_suggestion() -> None:
    def load(own: object) -> object:
        return load_recipe("hello", own)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"--over sft.optim.lrr=1.*did you mean `lr`"):
        grid(load, (Axis.parse("sft.optim.lrr=1,2"),), 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"use --seeds"):
        grid(load, (Axis.parse("seed=1,2"),), 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no stage `evaluat`; did you mean `evaluate`"):
        check_stages(["evaluat.sft"], load_recipe("hello"))
    known = [
        "evaluate.sft.sums.accuracy",
        "evaluate.sft.sums.tokens",
        "evaluate.base.sums.accuracy",
    ]
    assert chosen(["evaluate.sft"], known) == ("evaluate.sft.sums.accuracy",)
    assert chosen([], known) == (known[0], known[2])
    with pytest.raises(ConfigError, match="several begin so"):
        chosen(["evaluate"], known)
    with pytest.raises(ConfigError, match=r"did you mean `evaluate.sft.sums.tokens`"):
        chosen(["evaluate.sft.sums.token"], known)
