"""The best of several models by what they write."""

from pathlib import Path
from typing import Any

import pytest

from burnish.data.store import write_conversations, write_problems
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.errors import ConfigError, DataError
from burnish.pipeline.artifact import Ref
from burnish.stages.choose_model import ChooseModel
from burnish.stages.sample import Draws
from burnish.stages.sft import SFT
from burnish.types import Conversation, Problem
from tests.unit.stages.made_stage import run, save_reward, save_tiny

START, TAUGHT, REWARD = Ref("a", "start"), Ref("a", "taught"), Ref("a", "reward")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random model, and the same taught to answer its one problem."""
    folder = tmp_path_factory.mktemp("made")
    prompt = Conversation.of("What is the answer?")
    write_problems(folder / "problems.jsonl", [Problem(prompt=prompt, task="exact", answer="7")])
    write_problems(folder / "open.jsonl", [Problem(prompt=prompt, task="exact")])
    write_conversations(folder / "chats.jsonl", [prompt.then("Answer: 7")])
    start = save_tiny(folder / "start")
    sft = SFT(
        model=START,
        data=(Ref("a", "chats"),),
        passes=Passes(batch_rows=1, epochs=60),
        optim=Optim(lr=3e-3),
        precision="float32",
    )
    taught = run(sft, folder / "sft", start=start, chats=folder / "chats.jsonl")
    return {
        "start": start,
        "taught": taught.output("model"),
        "problems": folder / "problems.jsonl",
        "open": folder / "open.jsonl",
        "reward": save_reward(folder / "reward", start),
    }


def choose(**changed: Any) -> ChooseModel:
    given: dict[str, Any] = {
        "models": {"start": START, "taught": TAUGHT},
        "problems": Ref("a", "problems"),
        "draws": Draws(max_new_tokens=12, temperature=0.5),
        "num_samples": 8,
        "precision": "float32",
    }
    return ChooseModel(**(given | changed))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_model_that_answers_best_is_given_as_it_is(
    made: dict[str, Path], tmp_path: Path
) -> None:
    for order in (("start", "taught"), ("taught", "start")):
        models = {name: Ref("a", name) for name in order}
        ctx = run(choose(models=models), tmp_path / order[0], **made)
        out = ctx.output("model")
        assert weights(out) == weights(made["taught"]) != weights(made["start"])
        assert {f.name for f in out.iterdir()} == {f.name for f in made["taught"].iterdir()}
        values = ctx.tallies.values
        assert values["mean score of taught"] > 0.5 > values["mean score of start"]


def test_a_reward_model_may_choose_and_equals_keep_the_first(
    made: dict[str, Path], tmp_path: Path
) -> None:
    ctx = run(choose(reward_model=REWARD), tmp_path / "by", **made)
    values = ctx.tallies.values
    best = max(("start", "taught"), key=lambda name: values[f"mean score of {name}"])
    assert weights(ctx.output("model")) == weights(made[best])
    same = {"one": START, "two": START}
    ctx = run(choose(models=same, reward_model=REWARD), tmp_path / "same", **made)
    values = ctx.tallies.values
    assert values["mean score of one"] == values["mean score of two"]
    assert "chosen: one (a.start)" in ctx.tallies.notes


def test_problems_that_nothing_can_score_choose_nothing(
    made: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"a\.start: none of its 8 completions has a score"):
        run(choose(problems=Ref("a", "open")), tmp_path, **made)
    with pytest.raises(ConfigError, match="at least two"):
        choose(models={"one": START})
