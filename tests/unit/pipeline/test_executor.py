"""Runs: only what changed is redone, and a kill at any moment changes nothing in the end."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, Interrupted, RunError
from burnish.pipeline.artifact import Ref, hash_path
from burnish.pipeline.executor import execute
from burnish.pipeline.progress import Lines
from burnish.pipeline.recipe import Recipe, load
from burnish.pipeline.run import Run, locked
from tests.unit.pipeline.tiny import REGISTRY, YAML, Forgetful, Judge, Source, Train

ROOT = Path(__file__).parents[3]


def recipe_of(tmp_path: Path, *overrides: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(YAML)
    return load(path, REGISTRY, overrides)


def go(tmp_path: Path, *overrides: str, **options: Any) -> tuple[Run, dict[str, str]]:
    """Run in tmp_path/run; also returns what the screen said of each stage."""
    said: list[str] = []
    run = execute(
        recipe_of(tmp_path, *overrides),
        tmp_path / "run",
        cache=tmp_path / "cache",
        screen=Lines(said.append),
        **options,
    )
    ends = [line for line in said if line.startswith("[") and not line.endswith("...")]
    return run, {line.split()[1]: line.split()[2] for line in ends}


def weights(run: Run, stage: str) -> str:
    return (run.artifact(Ref(stage, "model")) / "weights").read_text()


def test_a_rerun_redoes_nothing_and_a_change_redoes_what_follows_from_it(tmp_path: Path) -> None:
    run, said = go(tmp_path)
    assert set(said.values()) == {"done"} and run.finished()
    assert set(go(tmp_path)[1].values()) == {"unchanged"}
    run, said = go(tmp_path, "rl.steps=2")
    assert said == {"base": "unchanged", "sft": "unchanged", "rl": "done", "judge": "done"}
    olds = sorted(p.name[:-9] for p in (tmp_path / "run/stages/old").iterdir())
    assert olds == ["03-rl", "04-judge"]


def test_changing_back_takes_the_earlier_stages_up_again(tmp_path: Path) -> None:
    go(tmp_path)
    go(tmp_path, "rl.steps=2")
    assert set(go(tmp_path)[1].values()) == {"unchanged"}


def test_a_new_stage_in_the_middle_renumbers_the_others_without_redoing_them(
    tmp_path: Path,
) -> None:
    go(tmp_path)
    recipe = recipe_of(tmp_path)
    stages = dict(recipe.stages)
    last = stages.pop("judge")
    recipe.stages = stages | {"more": Train(model=Ref("sft", "model")), "judge": last}
    run = execute(recipe, tmp_path / "run", cache=tmp_path)
    assert [s.dir.name for s in run.stages()] == [
        "01-base",
        "02-sft",
        "03-rl",
        "04-more",
        "05-judge",
    ]
    assert run.artifact(Ref("judge", "scores")).is_file()
    assert len(run.env) == 2 and not (tmp_path / "run/stages/old").exists()


def test_an_output_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    run, _ = go(tmp_path)
    whole = weights(run, "sft")
    (run.artifact(Ref("sft", "model")) / "weights").write_text("x")
    run, said = go(tmp_path)
    assert said == {"base": "unchanged", "sft": "done", "rl": "unchanged", "judge": "unchanged"}
    assert weights(run, "sft") == whole


def test_verify_finds_an_output_of_the_right_size_with_other_bytes(tmp_path: Path) -> None:
    run, _ = go(tmp_path)
    path = run.artifact(Ref("sft", "model")) / "weights"
    path.write_text(path.read_text().swapcase().replace("|", "!"))
    assert go(tmp_path)[1]["sft"] == "unchanged"
    assert go(tmp_path, verify=True)[1]["sft"] == "done"


def test_a_record_of_a_run_says_what_was_counted_spent_and_read(tmp_path: Path) -> None:
    run, _ = go(tmp_path)
    assert run.stage("base").tallies()["counts"] == {"too long": {"n": 1, "of": 4}}
    assert run.stage("sft").tallies()["spent"] == {"trained_tokens": 400}
    assert run.stage("judge").tallies()["notes"] == {"all judged": "all judged"}
    assert run.stage("judge").samples() == [{"models": ["rl", "sft"]}]
    assert [row["step"] for row in run.stage("rl").metrics()] == [0, 1, 2]
    model = run.artifact(Ref("base", "model"))
    assert run.stage("sft").inputs["base.model"] == hash_path(model)
    assert not (run.stage("sft").dir / "checkpoints").exists()
    assert run.env[0]["versions"]["burnish"]
    with pytest.raises(RunError, match="did you mean `judge`"):
        run.stage("jugde")


CRASH = """
import os, signal, sys
from pathlib import Path
from burnish.pipeline import files
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import load
from tests.unit.pipeline.tiny import REGISTRY
folder, point, overrides = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
replace = os.replace
def deadly(source, target):
    target = str(target)
    if target.endswith(point) and "rl" in target:
        if sys.argv[2] == "config.json":
            replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
if point != "-":
    os.replace = deadly
execute(load(folder / "recipe.yaml", REGISTRY, overrides), folder / "run", cache=folder)
"""


def crash(tmp_path: Path, point: str, *overrides: str) -> int:
    """Run in a process that dies; returns how it ended."""
    recipe_of(tmp_path)
    command = [sys.executable, "-c", CRASH, str(tmp_path), point, *overrides]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=env, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("point", "overrides"),
    [
        ("-", ("rl.kill_at=0",)),
        ("-", ("rl.kill_at=2",)),
        ("config.json", ()),
        ("tallies.json", ()),
        ("stage.json", ()),
    ],
)
def test_killed_anywhere_and_run_again_gives_the_same_bytes(
    tmp_path: Path, point: str, overrides: tuple[str, ...]
) -> None:
    (tmp_path / "whole").mkdir()
    whole, _ = go(tmp_path / "whole")
    assert crash(tmp_path, point, *overrides) == -signal.SIGKILL
    assert not Run.open(tmp_path / "run").finished()
    assert {r.name for r in Run.open(tmp_path / "run").stages() if r.finished} == {"base", "sft"}
    run, said = go(tmp_path, *overrides)
    assert said == {"base": "unchanged", "sft": "unchanged", "rl": "done", "judge": "done"}
    assert weights(run, "rl") == weights(whole, "rl")
    assert run.stage("rl").metrics() == whole.stage("rl").metrics()
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize(("how", "code"), [("TERM", 143), ("INT", 130)])
def test_a_signal_stops_at_a_checkpoint_with_its_exit_code(
    tmp_path: Path, how: str, code: int
) -> None:
    overrides = ("rl.kill_at=1", f"rl.how={how}")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        go(tmp_path, *overrides)
    assert caught.value.exit_code == code
    assert signal.getsignal(signal.SIGTERM) == before
    run, said = go(tmp_path, *overrides)
    assert said["rl"] == "done"
    assert [row["step"] for row in run.stage("rl").metrics()] == [0, 1, 2]
    assert run.stage("rl").metrics()[1]["train/loss"] == 0.5


def test_a_partial_stage_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        go(tmp_path, "rl.kill_at=1", "rl.how=TERM")
    run, _ = go(tmp_path, "rl.steps=2")
    assert [row["step"] for row in run.stage("rl").metrics()] == [0, 1]


def test_a_run_in_use_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(RunError, match=f"process {os.getpid()};"):
        go(tmp_path)
    go(tmp_path)


def test_until_runs_what_is_needed_and_only_needs_the_rest_done(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="stage base is not done"):
        go(tmp_path, only="sft")
    run, said = go(tmp_path, until="sft")
    assert list(said) == ["base", "sft"] and not run.finished()
    assert go(tmp_path, only="rl")[1]["rl"] == "done"
    with pytest.raises(RunError, match="this run has no stage judge"):
        run.artifact(Ref("judge", "scores"))
    with pytest.raises(ConfigError, match="did you mean `judge`"):
        go(tmp_path, until="jugde")


def test_wrong_kinds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = Recipe(name="x", stages={"base": Source(), "t": Train(model=Ref("base", "problems"))})
    with pytest.raises(ConfigError, match="wants model"):
        execute(recipe, tmp_path / "run", cache=tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_stage_that_leaves_an_output_out_has_failed(tmp_path: Path) -> None:
    recipe = Recipe(name="x", stages={"f": Forgetful()})
    with pytest.raises(RunError, match="without writing its file report"):
        execute(recipe, tmp_path / "run", cache=tmp_path)
    assert not Run.open(tmp_path / "run").finished()


def test_a_full_disk_is_one_line_and_the_run_goes_on_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Judge, ctx: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "run", full)
        with pytest.raises(RunError, match="disk is full; free some space, then: burnish resume"):
            go(tmp_path)
    assert go(tmp_path)[1] == {
        "base": "unchanged", "sft": "unchanged", "rl": "unchanged", "judge": "done",
    }  # fmt: skip


def test_seconds_add_up_over_sessions(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        go(tmp_path, "rl.kill_at=1", "rl.how=TERM")
    clock = tmp_path / "run/stages/03-rl/clock.json"
    assert json.loads(clock.read_text())["seconds"] > 0
    clock.write_text('{"seconds": 1000}')
    run, _ = go(tmp_path, "rl.kill_at=1", "rl.how=TERM")
    assert run.stage("rl").seconds > 1000 and not clock.exists()


def test_a_stage_reads_only_what_its_fields_name(tmp_path: Path) -> None:
    class Nosy(Train):
        def run(self, ctx: Any) -> None:
            ctx.input(Ref("base", "problems"))

    recipe = Recipe(name="x", stages={"base": Source(), "n": Nosy(model=Ref("base", "model"))})
    with pytest.raises(RunError, match=r"stage n does not read base.problems"):
        execute(recipe, tmp_path / "run", cache=tmp_path)


def test_a_replaced_stage_keeps_its_type_under_the_same_name(tmp_path: Path) -> None:
    run, _ = go(tmp_path)
    record = run.stage("sft")
    assert (record.type, record.config["steps"]) == ("train", 4)
    assert replace(record, seconds=0.0).name == "sft"
