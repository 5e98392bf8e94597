"""A user's own files as stages' data: what is made, counted, held out, refused, and trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.splits import overlap, prompt_key
from burnish.data.store import read_conversations, read_pairs, read_problems, read_texts
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.errors import ConfigError, DataError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import Recipe, dump, load
from burnish.pipeline.run import Run
from burnish.pipeline.stage import Context, Stage
from burnish.stages import STAGES
from burnish.stages.load import LoadModel
from burnish.stages.load_data import LoadData
from burnish.stages.prefer import Prefer
from burnish.stages.reward import TrainReward
from burnish.stages.sft import SFT
from tests.unit.cli.tiny_model import write_model

HH = Path(__file__).parents[4] / "shared/data/hh-rlhf/harmless-base-part.jsonl.gz"
PAIRS = [
    {"prompt": f"Question {i % 12}?", "chosen": f"Good answer {i}.", "rejected": "No."}
    for i in range(24)
]


def rows(path: Path, items: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(path)


def ran(tmp_path: Path, stage: LoadData) -> tuple[Context, dict[str, Any]]:
    ctx = Context.for_test(tmp_path, outputs=stage.outputs)
    stage.run(ctx)
    return ctx, ctx.tallies.to_json()


def test_conversations_come_with_a_count_of_all_that_was_dropped(tmp_path: Path) -> None:
    good = {"prompt": "Hi", "completion": "Hello."}
    path = rows(tmp_path / "a.jsonl", [good, good | {"completion": " "}, {"prompt": "x"}])
    ctx, said = ran(tmp_path, LoadData(path=path, kind="conversations", skip_bad=True))
    (found,) = read_conversations(ctx.output("train"))
    assert found.last_user == "Hi" and set(ctx.outputs) == {"train"}
    assert said["counts"] == {
        "dropped: bad rows": {"n": 1, "of": 3},
        "dropped: empty": {"n": 1, "of": 3},
    }


def test_texts_come_once_each_and_the_empty_are_counted(tmp_path: Path) -> None:
    items = [{"text": f"Text {i % 8}."} for i in range(9)] + [{"text": " "}]
    path = rows(tmp_path / "a.jsonl", items)
    ctx, said = ran(tmp_path, LoadData(path=path, kind="texts", heldout=2))
    train, held = read_texts(ctx.output("train")), read_texts(ctx.output("heldout"))
    assert sorted([*train, *held]) == sorted(f"Text {i}." for i in range(8)) and len(held) == 2
    assert said["counts"] == {
        "dropped: empty": {"n": 1, "of": 10},
        "dropped: duplicate": {"n": 1, "of": 10},
    }
    bad = rows(tmp_path / "b.jsonl", [{"text": "a"}, {"content": "b"}])
    with pytest.raises(DataError, match=r"b\.jsonl:2: "):
        ran(tmp_path, LoadData(path=bad, kind="texts"))


def test_a_bad_row_is_refused_with_its_line(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [{"prompt": "Hi", "completion": "a"}, {"prompt": "x"}])
    with pytest.raises(DataError, match=r"a\.jsonl:2: "):
        ran(tmp_path, LoadData(path=path, kind="conversations"))


def test_prompts_held_out_are_not_trained_on(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", PAIRS)
    ctx, said = ran(tmp_path, LoadData(path=path, kind="pairs", heldout=5))
    train, held = read_pairs(ctx.output("train")), read_pairs(ctx.output("heldout"))
    assert (len(train), len(held)) == (18, 6) and not overlap(train, held, key=prompt_key)
    assert said["values"] == {"pairs held out": 6, "pairs to train on": 18}


def test_problems_without_a_task_get_the_one_given(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [{"prompt": "1 + 1?", "answer": "2"}])
    ctx, _ = ran(tmp_path, LoadData(path=path, kind="problems", task="mine"))
    assert read_problems(ctx.output("train"))[0].task == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heldout": 1.5}, "between 0 and 1"),
        ({"heldout": 0}, "at least 1 row"),
        ({"heldout": True}, "a share or a number"),
        ({"task": "x"}, "kind: problems"),
        ({"path": ""}, "path must name a file"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LoadData(**({"path": "a.jsonl", "kind": "pairs"} | changes))


def test_the_stage_is_redone_when_the_file_changes_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows(path, PAIRS)
    recipe = Recipe(name="r")
    recipe.add("data", LoadData(path=str(path), kind="pairs"))
    before = recipe.keys()
    assert recipe.keys() == before
    rows(path, PAIRS[:-1])
    assert recipe.keys() != before
    path.unlink()
    with pytest.raises(DataError, match=r"a\.jsonl: cannot be read \(No such file"):
        recipe.keys()


def test_wiring_follows_the_kind_and_yaml_round_trips(tmp_path: Path) -> None:
    recipe = Recipe(name="r")
    recipe.add("data", LoadData(path="a.jsonl", kind="pairs", heldout=0.25))
    recipe.validate()
    file = tmp_path / "r.yaml"
    file.write_text(dump(recipe))
    assert load(file, STAGES).stages == recipe.stages
    passes, optim = Passes(batch_rows=4, max_steps=2), Optim(lr=1e-3)
    recipe.add("base", LoadModel(name="smollm2"))
    start, data = Ref("base", "model"), Ref("data", "train")
    recipe.add("sft", SFT(model=start, data=(data,), passes=passes, optim=optim))
    wanted = r"wants conversations or completions or texts, but data\.train is of kind pairs"
    with pytest.raises(ConfigError, match=wanted):
        recipe.validate()


def trained(tmp_path: Path, path: str, stage: Stage, **data: Any) -> Run:
    recipe = Recipe(name="r")
    recipe.add("base", LoadModel(name=str(write_model(tmp_path / "model"))))
    recipe.add("data", LoadData(path=path, **data))
    recipe.add("it", stage)
    return execute(recipe, tmp_path / "run", cache=tmp_path)


START, DATA = Ref("base", "model"), Ref("data", "train")
SHORT: dict[str, Any] = {
    "passes": Passes(batch_rows=4, max_steps=2),
    "optim": Optim(lr=1e-3),
    "precision": "float32",
}


def test_pairs_of_a_file_train_a_reward_model_and_leave_long_ones_out(tmp_path: Path) -> None:
    long = [{"prompt": "Long?", "chosen": "word " * 300, "rejected": "No."}]
    path = rows(tmp_path / "a.jsonl", PAIRS + long)
    short = SHORT | {"passes": Passes(batch_rows=1, max_steps=2)}
    stage = TrainReward(model=START, comparisons=DATA, heldout=0.3, max_tokens=200, **short)
    run = trained(tmp_path, path, stage, kind="pairs")
    record = run.stage("it")
    assert record.tallies()["counts"]["pairs over 200 tokens dropped"] == {"n": 1, "of": 25}
    assert len(record.metrics()) == 3 and run.artifact(Ref("it", "quality")).stat().st_size


@pytest.mark.skipif(not HH.is_file(), reason="../shared/data/hh-rlhf is not there")
def test_dialogues_of_hh_rlhf_train_by_dpo(tmp_path: Path) -> None:
    stage = Prefer(model=START, comparisons=DATA, **SHORT)
    run = trained(tmp_path, str(HH), stage, kind="pairs", heldout=1400)
    said = run.stage("data").tallies()
    assert said["counts"]["dropped: bad turns"] == {"n": 6, "of": 1580}
    assert run.stage("it").metrics()[0]["dpo/margin"] == pytest.approx(0, abs=1e-3)
    assert run.stage("it").samples()[0]["chosen"]


def test_weights_decide_what_a_step_is_made_of(tmp_path: Path) -> None:
    small = [{"prompt": f"a{i}", "completion": "few"} for i in range(2)]
    large = [{"prompt": f"b{i}", "completion": "many"} for i in range(30)]
    recipe = Recipe(name="r")
    base = recipe.add("base", LoadModel(name=str(write_model(tmp_path / "model"))))
    few = recipe.add("few", LoadData(path=rows(tmp_path / "a.jsonl", small), kind="conversations"))
    many = recipe.add(
        "many", LoadData(path=rows(tmp_path / "b.jsonl", large), kind="conversations")
    )
    stage = SFT(model=base.model, data=(few.train, many.train), weights=(3.0, 1.0), **SHORT)
    recipe.add("sft", stage)
    run = execute(recipe, tmp_path / "run", cache=tmp_path)
    batch = [sample["text"] for sample in run.stage("sft").samples()]
    assert sum("few" in text for text in batch) == 3 and sum("many" in text for text in batch) == 1
    with pytest.raises(ConfigError, match="weights: 1 given for 2 of data"):
        SFT(model=base.model, data=(few.train, many.train), weights=(3.0,), **SHORT)


def test_a_model_directory_has_the_digest_of_its_weights(tmp_path: Path) -> None:
    one, two = (LoadModel(name=str(write_model(tmp_path / str(s), seed=s))) for s in (0, 1))
    assert one.fingerprint() != two.fingerprint()
    assert one.fingerprint() == LoadModel(name=str(tmp_path / "0")).fingerprint()
