"""Blocks of seeds: the plain stages they stand for, what refers to all of them, and refusals."""

from pathlib import Path

import pytest

from burnish.errors import ConfigError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import Recipe, dump, load
from burnish.pipeline.source import Source as Said
from tests.unit.pipeline.test_rounds import REGISTRY, Pool
from tests.unit.pipeline.tiny import Judge, Source, Train

YAML = """\
name: seeds
seed: 7
stages:
  base: {stage: source}
  ways:
    seeds: 2
    stages:
      draw: {stage: pool, model: base.model}
      tune: {stage: train, model: base.model, problems: [draw.problems]}
  all:
    stage: pool
    model: base.model
    earlier: [ways.draw.problems, base.problems]
  again: {stage: pool, model: base.model, earlier: ways.draw.problems}
  last:
    stage: judge
    models: {base: base.model, tuned: ways.tune.model, first: ways_s1_tune.model}
sources:
  ways.tune.steps: "ours: with each seed"
"""


def write(tmp_path: Path, text: str = YAML) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_block_is_written_out_once_a_seed_and_read_as_a_list_or_by_name(tmp_path: Path) -> None:
    drawn = tuple(Ref(f"ways_s{n}_draw", "problems") for n in (1, 2))
    model = Ref("base", "model")
    wanted = Recipe(
        name="seeds",
        seed=7,
        stages={
            "base": Source(),
            "ways_s1_draw": Pool(model=model),
            "ways_s1_tune": Train(model=model, problems=drawn[:1]),
            "ways_s2_draw": Pool(model=model),
            "ways_s2_tune": Train(model=model, problems=drawn[1:]),
            "all": Pool(model=model, earlier=(*drawn, Ref("base", "problems"))),
            "again": Pool(model=model, earlier=drawn),
            "last": Judge(
                models={
                    "base": model,
                    "tuned_s1": Ref("ways_s1_tune", "model"),
                    "tuned_s2": Ref("ways_s2_tune", "model"),
                    "first": Ref("ways_s1_tune", "model"),
                }
            ),
        },
        sources={f"ways_s{n}_tune.steps": Said.from_text("ours: with each seed") for n in (1, 2)},
    )
    loaded = load(write(tmp_path), REGISTRY)
    assert loaded == wanted
    assert load(write(tmp_path, dump(loaded)), REGISTRY) == loaded


def test_seeds_draw_from_streams_of_their_own(tmp_path: Path) -> None:
    run = execute(load(write(tmp_path), REGISTRY), tmp_path / "run", cache=tmp_path)
    weights = [
        (run.artifact(Ref(f"ways_s{n}_tune", "model")) / "weights").read_text() for n in (1, 2)
    ]
    assert weights[0] != weights[1]
    assert run.artifact(Ref("all", "problems")).read_text().split()[-1] == "all"


def test_one_more_seed_leaves_the_keys_of_those_before_it(tmp_path: Path) -> None:
    two = load(write(tmp_path), REGISTRY).keys()
    three = load(write(tmp_path), REGISTRY, ["ways.seeds=3"]).keys()
    assert [name for name in two if two[name] != three[name]] == ["all", "again", "last"]
    assert three.keys() - two.keys() == {"ways_s3_draw", "ways_s3_tune"}


def test_set_reaches_every_seed_or_one(tmp_path: Path) -> None:
    recipe = load(write(tmp_path), REGISTRY, ["ways.tune.steps=9", "ways_s2_tune.steps=5"])
    steps = [recipe.stages[f"ways_s{n}_tune"].steps for n in (1, 2)]  # type: ignore[attr-defined]
    assert steps == [9, 5]


@pytest.mark.parametrize(
    ("find", "put", "line", "words"),
    [
        ("seeds: 2", "seeds: 0", 6, ("`stages.ways.seeds`", "from 1 to 99 (got 0)")),
        ("seeds: 2", "seeds: 2\n    carry: {}", 7, ("`stages.ways.carry`: unknown key",)),
        ("tuned: ways.tune.model", "tuned: ways.tun.model", 17, ("no stage of the block",)),
        ("tuned: ways.tune.model", "tuned: ways.tune", 17, ("write it as ways.stage.output",)),
        ("earlier: ways.draw.problems", "earlier: past.draw.problems", 14, ("no past outside",)),
        ("[draw.problems]", "[past.draw.problems]", 9, ("no past outside",)),
        ("[draw.problems]", "[ways.draw.problems]", 9, ("there is no `ways.draw.problems` here",)),
        ("again: {stage: pool, model: base", "again: {stage: pool, model: ways.tune", 14,
         ("is a list, and one output",)),
        ("draw: {stage: pool", "draw: {seeds: 2", 8, ("blocks inside blocks",)),
        ("  all:", "  ways_s2_draw:", 10, ("makes another stage `ways_s2_draw`",)),
    ],
)  # fmt: skip
def test_a_mistake_in_a_block_is_named_with_its_line_and_the_fix(
    tmp_path: Path, find: str, put: str, line: int, words: tuple[str, ...]
) -> None:
    assert find in YAML
    path = write(tmp_path, YAML.replace(find, put, 1))
    with pytest.raises(ConfigError) as caught:
        load(path, REGISTRY)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert all(word in message for word in words), message
