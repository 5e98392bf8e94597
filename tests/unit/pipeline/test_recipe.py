"""Recipes: YAML and Python build the same graph; what is wrong with it is found before it runs."""

import dataclasses
from pathlib import Path

import pytest

from burnish.errors import ConfigError
from burnish.pipeline import source
from burnish.pipeline.artifact import Ref
from burnish.pipeline.recipe import Recipe, dump, load
from burnish.pipeline.wiring import inputs_of
from tests.unit.pipeline.tiny import REGISTRY, YAML, Fancy, Judge, Source, Train


def write(tmp_path: Path, text: str = YAML) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def built() -> Recipe:
    recipe = Recipe(
        name="tiny",
        seed=7,
        sources={"sft.steps": source.Source(status="ours", source="enough to see it move")},
    )
    base = recipe.add("base", Source(rows=2))
    sft = recipe.add(
        "sft", Train(model=base.model, problems=(base.problems,), algorithm=Fancy(beta=0.1))
    )
    rl = recipe.add("rl", Train(model=sft.model, steps=3))
    recipe.add("judge", Judge(models={"sft": sft.model, "rl": rl.model}))
    return recipe


def test_python_and_yaml_build_equal_recipes_that_survive_a_round_trip(tmp_path: Path) -> None:
    loaded = load(write(tmp_path), REGISTRY)
    assert loaded == built()
    assert load(write(tmp_path, dump(loaded)), REGISTRY) == loaded
    assert loaded.keys() == built().keys()
    hasty = load(write(tmp_path, YAML.replace("seed: 7", "seed: 7\nbudget: 8m")), REGISTRY)
    assert load(write(tmp_path, dump(hasty)), REGISTRY) == hasty
    assert hasty.budget == "8m" and hasty.keys() == loaded.keys()


@pytest.mark.parametrize(
    ("find", "put", "line", "words"),
    [
        ("steps: 3", "step: 3", 16, ("`stages.rl.step`", "did you mean `steps`")),
        ("steps: 3", "steps: many", 16, ("`stages.rl.steps`", "valid integer")),
        ("steps: 3", "steps: .nan", 16, ("NaN",)),
        ("rows: 2", "rows: 0", 6, ("`stages.base.rows`", "rows=0 must be positive")),
        ("model: sft.model", "model: sfx.model", 15, ("no stage `sfx`", "did you mean `sft`")),
        ("model: sft.model", "model: sft.modle", 15, ("`modle`", "did you mean `model`")),
        ("model: sft.model", "model: base.problems", 15, ("wants model", "kind problems")),
        ("model: sft.model", "model: sft", 15, ("write it as stage.output",)),
        ("[base.problems]", "[base.model]", 10, ("`stages.sft.problems.0`", "wants problems")),
        ("rl: rl.model}", "rl: base.problems}", 19, ("`stages.judge.models.rl`",)),
        ("beta: 1e-1", "judge: sft.model", 11, ("algorithm.judge`", "wants reward_model")),
        ("stage: judge", "stage: jugde", 18, ("did you mean `judge`",)),
        ("seed: 7", "sed: 7", 2, ("`sed`", "did you mean `seed`")),
        ("seed: 7", "seed: -1", 2, ("from 0",)),
        ("seed: 7", "budget: soon", 2, ("`budget`", "90s, 8m or 1h30m")),
        ("model: base.model", "model: rl.model", 1, ("circle: sft, rl, judge",)),
        ("  rl:", "  ../rl:", 13, ("a-z, 0-9",)),
        ("sft.steps:", "sft.stepz:", 21, ("no such key", "did you mean `sft.steps`")),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_fix(
    tmp_path: Path, find: str, put: str, line: int, words: tuple[str, ...]
) -> None:
    path = write(tmp_path, YAML.replace(find, put, 1))
    with pytest.raises(ConfigError) as caught:
        load(path, REGISTRY)
    message = str(caught.value)
    if "circle" not in message:  # a circle has no one line
        assert message.startswith(f"{path}:{line}: "), message
    assert all(word in message for word in words), message


def test_set_values_take_the_type_of_the_field_they_replace(tmp_path: Path) -> None:
    recipe = load(
        write(tmp_path),
        REGISTRY,
        ["sft.algorithm.beta=3e-1", "stages.rl.algorithm=fancy", "seed=3", "rl.how=TERM"],
    )
    sft, rl = recipe.stages["sft"], recipe.stages["rl"]
    assert isinstance(sft, Train) and sft.algorithm == Fancy(beta=0.3)
    assert isinstance(rl, Train) and (rl.algorithm, rl.how) == (Fancy(), "TERM")
    assert recipe.seed == 3
    assert recipe.sources["sft.algorithm.beta"] == source.SET


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("sft.algoritm.beta=1", "did you mean `algorithm`"),
        ("sftt.steps=1", "did you mean `sft`"),
        ("sft.steps=true", "must be a number"),
        ("sft.steps.more=1", "plain value"),
        ("sft.problems.4=base.problems", "no index of a list of 1"),
        ("rl.model=base.problems", "wants model"),
        ("sft", "write it as --set"),
        ("seed=x", "valid integer"),
        ("sft.steps=[", "not valid YAML"),
    ],
)
def test_a_wrong_set_is_refused_by_its_own_text(
    tmp_path: Path, assignment: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path), REGISTRY, [assignment])
    assert str(caught.value).startswith(f"--set {assignment}: ")
    assert words in str(caught.value)


def test_a_source_whose_key_an_override_removed_goes_with_it(tmp_path: Path) -> None:
    text = YAML.replace("sft.steps:", "sft.algorithm.fancy.beta:")
    replaced = load(write(tmp_path, text), REGISTRY, ["sft.algorithm.beta=1"])
    assert list(replaced.sources) == ["sft.algorithm.beta"]
    recipe = load(write(tmp_path, text), REGISTRY, ["sft.algorithm=plain"])
    assert list(recipe.sources) == ["sft.algorithm"]
    assert load(write(tmp_path, dump(recipe)), REGISTRY) == recipe


def test_a_handle_suggests_the_output_that_was_meant() -> None:
    recipe = Recipe(name="x")
    base = recipe.add("base", Source())
    assert base.model == Ref("base", "model")
    with pytest.raises(ConfigError, match="did you mean `model`"):
        base.modell
    with pytest.raises(ConfigError, match="already"):
        recipe.add("base", Source())


def test_inputs_are_found_in_tuples_mappings_and_nested_configs() -> None:
    judge, problems, model = Ref("r", "reward"), Ref("b", "problems"), Ref("b", "model")
    stage = Train(model=model, problems=(problems,), algorithm=Fancy(judge=judge))
    assert [(i.field, i.ref, i.kinds) for i in inputs_of(stage)] == [
        ("model", model, ("model",)),
        ("problems.0", problems, ("problems",)),
        ("algorithm.judge", judge, ("reward_model",)),
    ]
    assert [i.field for i in inputs_of(Judge(models={"a": model}))] == ["models.a"]


def test_keys_follow_config_seed_file_content_and_what_is_upstream(tmp_path: Path) -> None:
    def changed(recipe: Recipe) -> set[str]:
        before, after = built().keys(), recipe.keys()
        return {name for name in before if before[name] != after[name]}

    recipe = built()
    recipe.stages["rl"] = dataclasses.replace(recipe.stages["rl"], steps=9)  # type: ignore[type-var]
    assert changed(recipe) == {"rl", "judge"}
    recipe = built()
    recipe.seed = 8
    assert changed(recipe) == set(recipe.stages)
    recipe = built()
    recipe.sources, recipe.name = {}, "renamed"
    assert changed(recipe) == set()

    path = tmp_path / "rows"
    path.write_text("a")
    before = Source(file=str(path))
    first = Recipe(name="x", stages={"s": before}).keys()
    path.write_text("b")
    assert Recipe(name="x", stages={"s": before}).keys() != first
