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


def test_hh_trains_on_transcripts_and_counts_what_it_leaves_out(
    model: Path, tmp_path: Path
) -> None:
    def row(i: int, chosen: str, rejected: str, before: str = "") -> dict[str, str]:
        start = f"\n\nHuman: Why {i}?\n\nAssistant:"
        return {"chosen": start + chosen, "rejected": start + before + rejected}

    other = " Hm.\n\nHuman: So?\n\nAssistant:"
    rows = [row(i, f" Because {i}.", " No.") for i in range(24)] + [row(30, " Yes.", " No.", other)]
    (tmp_path / "hh.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    own = [f"data.path={tmp_path / 'hh.jsonl'}", f"base.name={model}", "reward.precision=float32"]
    run = execute(load_recipe("hh", own), tmp_path / "run", cache=tmp_path)
    counts = run.stage("data").tallies()["counts"]
    assert counts["dropped: different prompts"] == {"n": 1, "of": 25}
    quality = read_rows(run.artifact(Ref("reward", "quality")))
    assert {"chosen_score", "shorter", "bag_of_words"} <= set(quality[0])


def test_hello_measures_the_model_before_and_after(model: Path, tmp_path: Path) -> None:
    small = ["sft.passes.max_steps=1", "evaluate.num_problems=4", "evaluate.draws.max_new_tokens=4"]
    recipe = load_recipe("hello", [f"base.name={model}", *small])
    run = execute(recipe, tmp_path / "run", cache=tmp_path)
    scores = read_rows(run.artifact(Ref("evaluate", "scores")))
    assert [row["model"] for row in scores] == ["base"] * 4 + ["sft"] * 4


def test_star_draws_from_each_rounds_model_and_tunes_that_of_the_start(
    model: Path, tmp_path: Path
) -> None:
    small = [
        "improve.rounds=2",
        "improve.draw.num_problems=3",
        "improve.draw.draws.max_new_tokens=4",
        "improve.keep.keep.score=0",  # a random model is never right
        "improve.tune.passes.max_steps=1",
        "evaluate.num_problems=4",
        "evaluate.draws.max_new_tokens=4",
    ]
    recipe = load_recipe("star", [f"base.name={model}", *small])
    run = execute(recipe, tmp_path / "run", cache=tmp_path)
    assert set(run.stage("improve_2_draw").inputs) == {"improve_1_tune.model", "sums.train"}
    assert set(run.stage("improve_2_tune").inputs) == {"sft.model", "improve_2_keep.best"}
    scores = read_rows(run.artifact(Ref("evaluate", "scores")))
    assert [row["model"] for row in scores[::4]] == ["sft", "round_1", "round_2", "last"]


def test_tools_and_games_are_played_before_and_after_rl(model: Path, tmp_path: Path) -> None:
    tools = [
        "sums.num_train=4",
        "sums.num_heldout=3",
        "sums.num_demonstrations=8",
        "sft.passes.max_steps=1",
        "direct.num_problems=2",
        "direct.draws.max_new_tokens=4",
        "grpo.steps=1",
        "grpo.problems_per_step=2",
        "grpo.group_size=2",
        "grpo.draws.max_new_tokens=8",
        "evaluate.draws.max_new_tokens=4",
    ]
    games = [
        "sft.passes.max_steps=1",
        "rl.steps=1",
        "rl.problems_per_step=2",
        "rl.group_size=2",
        "rl.draws.max_new_tokens=8",
        "evaluate.num_problems=3",
        "evaluate.draws.max_new_tokens=4",
    ]
    for name, small, models in (
        ("tools", tools, ["base", "sft", "grpo"]),
        ("guessing", games, ["base", "sft", "rl"]),
    ):
        recipe = load_recipe(name, [f"base.name={model}", *small])
        run = execute(recipe, tmp_path / name, cache=tmp_path)
        scores = read_rows(run.artifact(Ref("evaluate", "scores")))
        assert list(dict.fromkeys(row["model"] for row in scores)) == models
        assert all(row["completion"].startswith("[assistant] ") for row in scores)


ROUNDS = """\
name: rounds
stages:
  base: {{stage: load_model, name: {model}}}
  sums: {{stage: everyday_problems, num_train: 4, num_heldout: 1}}
  improve:
    rounds: 2
    start: {{model: base.model}}
    carry: {{model: tune.model}}
    stages:
      draw:
        stage: sample
        model: carried.model
        problems: sums.train
        num_problems: 4
        num_samples: 2
        draws: {{max_new_tokens: 6}}
        precision: float32
      keep: {{stage: reject, completions: draw.completions, earlier: past.draw.completions}}
      tune:
        stage: sft
        model: carried.model
        data: [keep.best]
        passes: {{batch_rows: 4}}
        optim: {{lr: 1.0e-3}}
        precision: float32
  again:
    stage: sample
    model: improve.model
    problems: sums.train
    num_problems: 1
    num_samples: 1
    draws: {{max_new_tokens: 2}}
    precision: float32
"""


def test_rounds_go_on_from_one_another_and_the_best_of_all_of_them_compete(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text(ROUNDS.format(model=model))
    run = execute(load(tmp_path / "r.yaml", STAGES), tmp_path / "run", cache=tmp_path)
    tallies = [run.stage(f"improve_{n}_keep").tallies()["counts"] for n in (1, 2)]
    earlier = [{k: v for k, v in t.items() if k.startswith("earlier")} for t in tallies]
    assert not earlier[0] and [v["of"] for v in earlier[1].values()] == [8]
    assert tallies[1]["completions kept"]["of"] == 16 - next(iter(earlier[1].values()))["n"]
    weights = [
        (run.artifact(Ref(name, "model")) / "model.safetensors").read_bytes()
        for name in ("base", "improve_1_tune", "improve_2_tune")
    ]
    assert len(set(weights)) == 3
    assert set(run.stage("improve_2_tune").inputs) == {
        "improve_1_tune.model",
        "improve_2_keep.best",
    }
    assert "improve_2_tune.model" in run.stage("again").inputs
