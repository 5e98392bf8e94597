"""Plans: tokens from the data itself, memory from shapes, and what cannot work in one line each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from burnish.cli.recipes import load_recipe
from burnish.engine.memory import BASE_BYTES
from burnish.models.shape import ModelShape
from burnish.pipeline.artifact import Ref
from burnish.pipeline.budget import Speeds
from burnish.pipeline.executor import execute
from burnish.pipeline.forecast import Text, Texts
from burnish.pipeline.recipe import Recipe
from burnish.stages.plan import foresee, measured, shapes_of, tokens
from burnish.stages.plan_checks import complaints, num_gpus
from burnish.stages.plan_texts import see_data, see_model
from burnish.stages.rl import RL
from burnish.stages.sample import Draws, answers
from burnish.text.tokenizer import load_tokenizer
from tests.unit.cli.tiny_model import write_model

SPEEDS = Speeds(sampled=100, trained=100, scored=100, decode_s=0.1, step_s=1, open_s=1)
SHAPE = ModelShape(
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    intermediate_size=14336,
    vocab_size=128256,
    context=8192,
)
Problems = Callable[..., list[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def hello(model: Path, *more: str) -> Recipe:
    return load_recipe("hello", [f"base.name={model}", "evaluate.draws.max_new_tokens=6", *more])


def test_tokens_of_training_are_those_that_the_run_then_counts(model: Path, tmp_path: Path) -> None:
    recipe = hello(model)
    recipe.stages["sft"] = replace(recipe.stages["sft"], precision="float32")  # type: ignore[type-var]
    seen = see_data(recipe, tmp_path, load_tokenizer(model))
    written = dict(see_model(recipe, model, "cpu", seen.asked))
    shapes, wrong = shapes_of(recipe, tmp_path)
    forecast = foresee(recipe, shapes, seen.texts | written, SPEEDS, gpu=False)
    assert not wrong and not seen.problems
    run = execute(recipe, tmp_path / "run", cache=tmp_path)
    done = measured(run)
    expected = forecast.stages["sft"].work
    assert tokens(expected) == pytest.approx(done["sft"].tokens, rel=0.15)
    assert seen.texts[Ref("sums", "heldout")].num_rows == 40
    assert forecast.stages["sft"].disk_bytes > 0 and done["sft"].peak_bytes
    prompts = forecast.stages["evaluate"].work
    assert prompts is not None and prompts.sampled_tokens <= 2 * 40 * 6


def test_drawn_completions_are_longer_than_the_likeliest_because_some_find_no_end() -> None:
    model, asked = Ref("sft", "model"), Ref("sums", "heldout")
    shown = Text(words=frozenset({"a"}), prompt_tokens=9, completion_tokens=10)
    known = {ref: Texts(num_rows=8, sample=(shown,)) for ref in (model, asked)}
    for temperature, tokens_each in (
        (0.0, 10),
        (0.5, 0.9 * 10 + 0.1 * 60),
        (2.0, 0.8 * 10 + 0.2 * 60),
    ):
        draws = Draws(max_new_tokens=60, temperature=temperature)
        found = answers(known, model, asked, None, draws)
        assert found.completion_tokens == pytest.approx(tokens_each)
        assert found.num_rows == 8


def problems_of(recipe: Recipe, **room: float) -> list[str]:
    texts = see_data(recipe, Path(), None).texts
    shapes, wrong = shapes_of(recipe, Path())
    forecast = foresee(recipe, shapes, texts, None, gpu=False)
    given = {"memory_bytes": 1e15, "disk_free": 1e15} | room
    return wrong + complaints(recipe, forecast, where="this machine", **given)  # type: ignore[arg-type]


def test_a_recipe_that_fits_has_no_complaints(model: Path) -> None:
    assert problems_of(hello(model)) == []


def test_a_context_that_is_too_short_names_stage_key_and_room(model: Path) -> None:
    (line,) = problems_of(hello(model, "evaluate.draws.max_new_tokens=600"))
    assert line.startswith("evaluate: `draws.max_new_tokens`: ") and "context of 512" in line
    assert line.endswith("use at most 512")


def test_minibatches_that_do_not_divide_name_those_that_do() -> None:
    recipe = load_recipe("quickstart", ["ppo.minibatches=5"])
    assert isinstance(recipe.stages["ppo"], RL)
    found = [line for line in problems_of(recipe) if "minibatches" in line]
    assert found == [
        "ppo: `minibatches`: 5 do not divide the 32 completions of a step (problems_per_step * "
        "group_size); use one of 1, 2, 4, 8, 16, 32"
    ]


def test_memory_and_disk_that_are_too_small_are_said(model: Path) -> None:
    lines = problems_of(hello(model), memory_bytes=BASE_BYTES + 1, disk_free=1)
    assert any(line.startswith("sft: `micro_tokens`: needs about ") for line in lines)
    assert any("free some space" in line for line in lines)


def test_a_file_that_is_missing_is_a_complaint_of_its_stage(tmp_path: Path) -> None:
    recipe = load_recipe("sft", ["data.path=nowhere.jsonl"])
    (line,) = see_data(recipe, tmp_path, None).problems
    assert line.startswith("data: ") and "nowhere.jsonl" in line


def test_a_model_that_is_missing_is_a_complaint_unless_its_shape_is_given(tmp_path: Path) -> None:
    recipe = load_recipe("hello", ["base.name=/nowhere/model"])
    assert shapes_of(recipe, tmp_path)[1][0].startswith("base: `name`: /nowhere/model")
    recipe.stages["base"] = replace(recipe.stages["base"], shape=SHAPE)  # type: ignore[type-var]
    shapes, wrong = shapes_of(recipe, tmp_path)
    forecast = foresee(recipe, shapes, {}, None, gpu=True)
    peak = forecast.stages["sft"].peak_bytes
    assert not wrong and shapes[Ref("sft", "model")] == SHAPE
    assert peak is not None and peak > 18 * SHAPE.num_params
    assert num_gpus(peak, 80e9) == 2  # 145 GB of weights and states
