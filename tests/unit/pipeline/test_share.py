"""Stages of the same key are taken over from other runs, others are not, and nothing is redone."""

from dataclasses import replace
from pathlib import Path

from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import Recipe, load
from burnish.pipeline.run import Run
from burnish.pipeline.share import take_over
from tests.unit.pipeline.tiny import REGISTRY, YAML


def recipe(tmp_path: Path, *overrides: str) -> Recipe:
    file = tmp_path / "tiny.yaml"
    file.write_text(YAML)
    return load(file, REGISTRY, overrides)


def test_only_stages_of_the_same_key_are_taken_over_and_then_count_as_done(tmp_path: Path) -> None:
    first, other = recipe(tmp_path), recipe(tmp_path, "sft.steps=3")
    execute(first, tmp_path / "a", cache=tmp_path)
    same = [n for n, key in first.keys().items() if other.keys()[n] == key]
    assert "sft" not in same and same
    assert sorted(take_over(other, tmp_path / "b", [tmp_path / "a"])) == sorted(same)
    made = {n: Run.open(tmp_path / "a").stage(n).dir / "stage.json" for n in same}
    execute(other, tmp_path / "b", cache=tmp_path)
    run = Run.open(tmp_path / "b")
    assert run.finished()
    for name, file in made.items():  # redone stages would have files of their own
        assert (run.stage(name).dir / "stage.json").stat().st_ino == file.stat().st_ino
    assert Run.open(tmp_path / "a").finished()


def test_another_seed_shares_nothing_and_unfinished_stages_are_left(tmp_path: Path) -> None:
    first = recipe(tmp_path)
    execute(first, tmp_path / "a", cache=tmp_path)
    assert take_over(replace(first, seed=9), tmp_path / "b", [tmp_path / "a"]) == []
    for file in (tmp_path / "a" / "stages").glob("*/stage.json"):
        file.unlink()
    assert take_over(first, tmp_path / "c", [tmp_path / "a", tmp_path / "none"]) == []


def test_what_a_run_has_of_its_own_stays(tmp_path: Path) -> None:
    first = recipe(tmp_path)
    for name in ("a", "b"):
        execute(first, tmp_path / name, cache=tmp_path)
    assert take_over(first, tmp_path / "b", [tmp_path / "a"]) == []
