"""The recipes that ship: all of them are valid, and those for a user's own files run on them."""

import json
from pathlib import Path

import pytest

from burnish.cli.recipes import load_recipe, packaged
from burnish.data.store import read_rows
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import dump, load
from burnish.stages import STAGES
from tests.unit.cli.tiny_model import write_model

PAIRS = [{"prompt": f"Why {i}?", "chosen": f"Because {i}.", "rejected": "No."} for i in range(12)]
TALKS = [{"prompt": f"Why {i}?", "completion": f"Because {i}."} for i in range(12)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("name", packaged())
def test_every_recipe_that_ships_is_valid_and_survives_being_written(
    name: str, tmp_path: Path
) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description
    (tmp_path / "again.yaml").write_text(dump(recipe))
    assert load(tmp_path / "again.yaml", STAGES).stages == recipe.stages


@pytest.mark.parametrize(
    ("name", "rows", "made"),
    [("sft", TALKS, "model"), ("dpo", PAIRS, "model"), ("reward", PAIRS, "reward_model")],
)
def test_a_users_file_trains_a_model(
    name: str, rows: list[dict[str, str]], made: str, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = [f"data.path={file}", f"base.name={model}", f"{name}.precision=float32"]
    run = execute(load_recipe(name, own), tmp_path / "run", cache=tmp_path)
    assert (run.artifact(Ref(name, made)) / "model.safetensors").is_file()


def test_hello_measures_the_model_before_and_after(model: Path, tmp_path: Path) -> None:
    small = ["sft.passes.max_steps=1", "evaluate.num_problems=4", "evaluate.draws.max_new_tokens=4"]
    recipe = load_recipe("hello", [f"base.name={model}", *small])
    run = execute(recipe, tmp_path / "run", cache=tmp_path)
    scores = read_rows(run.artifact(Ref("evaluate", "scores")))
    assert [row["model"] for row in scores] == ["base"] * 4 + ["sft"] * 4
