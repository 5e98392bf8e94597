"""Constrained prompts as a stage: from everyday prompts, problems, conversations; trained on."""

import json
from pathlib import Path

import pytest

from burnish.cli.recipes import load_recipe
from burnish.data.store import read_problems, read_rows, write_conversations, write_problems
from burnish.envs.constrained import Constraints
from burnish.errors import ConfigError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.stage import Context
from burnish.stages.constraints import ConstrainedPrompts
from burnish.types import Conversation, Problem
from burnish.verifiers.instruction_following import instructions_of
from tests.unit.cli.tiny_model import write_model

THINGS = ("river", "tower", "lamp", "boat", "desk", "lion")


def _run(stage: ConstrainedPrompts, folder: Path, **inputs: Path) -> tuple[list[Problem], Context]:
    named = {f"a.{name}": path for name, path in inputs.items()}
    ctx = Context.for_test(folder, outputs=stage.outputs, inputs=named)
    stage.run(ctx)
    return read_problems(ctx.output("train")), ctx


def test_everyday_prompts_are_split_and_their_constraints_counted(tmp_path: Path) -> None:
    train, ctx = _run(ConstrainedPrompts(num_train=30, num_heldout=10), tmp_path)
    heldout = read_problems(ctx.output("heldout"))
    assert (len(train), len(heldout)) == (30, 10)
    told = sum(v for k, v in ctx.tallies.values.items() if k.startswith("problems to train on"))
    assert told == sum(len(instructions_of(p)) for p in train)


def test_constraints_are_given_to_the_prompts_of_another_stage(tmp_path: Path) -> None:
    chats = [Conversation.of(f"Sell the {thing}.", "It is cheap.") for thing in THINGS]
    write_conversations(tmp_path / "chats.jsonl", chats)
    stage = ConstrainedPrompts(num_train=4, num_heldout=2, conversations=Ref("a", "chats"))
    train, _ = _run(stage, tmp_path / "one", chats=tmp_path / "chats.jsonl")
    assert all(p.prompt.last_user.startswith("Sell the ") for p in train)
    assert all(len(p.prompt.messages) == 1 for p in train)
    problems = [Problem(prompt=Conversation.of(f"Buy the {t}."), task="x") for t in THINGS]
    write_problems(tmp_path / "problems.jsonl", problems)
    stage = ConstrainedPrompts(num_train=4, num_heldout=2, problems=Ref("a", "problems"))
    train, _ = _run(stage, tmp_path / "two", problems=tmp_path / "problems.jsonl")
    assert all(p.prompt.last_user.startswith("Buy the ") for p in train)


def test_both_sources_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        ConstrainedPrompts(
            num_train=1, num_heldout=1, problems=Ref("a", "b"), conversations=Ref("a", "c")
        )


def test_settings_reach_the_problems(tmp_path: Path) -> None:
    constraints = Constraints(kinds=("startend:quotation",), most=1, score="all")
    train, _ = _run(
        ConstrainedPrompts(num_train=5, num_heldout=1, constraints=constraints), tmp_path
    )
    for problem in train:
        meta = json.loads(problem.meta)
        assert meta == {"instructions": [{"kind": "startend:quotation"}], "score": "all"}


def test_the_recipe_trains_on_constraints_and_measures_before_and_after(tmp_path: Path) -> None:
    small = [
        f"base.name={write_model(tmp_path / 'tiny')}",
        "prompts.num_train=16",
        "prompts.num_heldout=6",
        "grpo.steps=2",
        "grpo.problems_per_step=2",
        "grpo.group_size=4",
        "grpo.draws.max_new_tokens=8",
        "evaluate.draws.max_new_tokens=8",
        "grpo.precision=float32",
    ]
    run = execute(load_recipe("constrained", small), tmp_path / "run", cache=tmp_path)
    rows = read_rows(run.artifact(Ref("evaluate", "scores")))
    assert [row["model"] for row in rows] == ["base"] * 6 + ["grpo"] * 6
    assert {row["task"] for row in rows} == {"instruction_following"}
    assert all(isinstance(row["passed"], bool) and 0 <= row["score"] <= 1 for row in rows)
    (evaluate,) = [stage for stage in run.stages() if stage.name == "evaluate"]
    assert not [reason for reason in evaluate.tallies()["counts"] if "Answer:" in reason]
