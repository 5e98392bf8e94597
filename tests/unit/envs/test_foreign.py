"""Environments of another library's shape, played by fakes of that shape."""

import copy
from pathlib import Path
from typing import Any

import pytest

from burnish.config import build
from burnish.data.store import read_problems
from burnish.envs.foreign import ForeignEnv, foreign_problem
from burnish.errors import ConfigError, DataError
from burnish.pipeline.stage import Context
from burnish.stages.evaluate_env import EvaluateEnv
from burnish.stages.foreign_problems import ForeignProblems
from burnish.types import Conversation, Problem

HERE = __name__
ROWS = [
    {"prompt": [{"role": "user", "content": "Say yes."}], "answer": "yes", "info": {"turns": 3}},
    {"question": "Say no.", "answer": "no", "task": "refusals"},
    {"prompt": "Say no.", "answer": "no"},
]


class Rubric:
    async def score_rollout(self, state: dict[str, Any]) -> None:
        said = [m["content"] for m in state["completion"] if m["role"] == "assistant"]
        state["reward"] = float(said[-1] == state["answer"])
        state["completion"].clear()  # a rubric may do what it likes to its state


class OneTurn:
    rubric = Rubric()
    dataset = ROWS


class Nagging:
    """Says "again" until the answer comes, or three turns are over."""

    rubric = Rubric()
    dataset = ROWS

    async def setup_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return state | {"left": state["info"].get("turns", 2)}

    async def is_completed(self, messages: list[dict[str, Any]], state: dict[str, Any]) -> bool:
        return state["left"] <= 1 or messages[-1]["content"] == state["answer"]

    async def env_response(self, messages: list[dict[str, Any]], state: dict[str, Any]) -> Any:
        state["left"] -= 1
        return [{"role": "user", "content": f"again, {len(messages)}"}], state


class NaggingInPlace(Nagging):
    async def is_completed(self, state: dict[str, Any]) -> bool:  # type: ignore[override]
        return await super().is_completed([*state["prompt"], *state["completion"]], state)

    def env_response(self, messages: list[dict[str, Any]], state: dict[str, Any]) -> Any:
        state["left"] -= 1
        return f"again, {len(messages)}"


def load_environment(kind: str = "one") -> Any:
    return {"one": OneTurn, "many": Nagging, "in_place": NaggingInPlace}[kind]()


def env(kind: str) -> ForeignEnv:
    return ForeignEnv(target=f"{HERE}:load_environment", arguments={"kind": kind})


YES = foreign_problem(ROWS[0], "row 1")


def test_one_turn_and_a_rubric() -> None:
    made = env("one")
    state = made.start(YES, 0).state
    right, wrong = made.reply(state, "yes"), made.reply(state, "maybe")
    assert right.done and right.verdict.passed and right.verdict.score == 1.0
    assert wrong.done and wrong.verdict.passed is False


@pytest.mark.parametrize("kind", ["many", "in_place"])
def test_several_turns_each_on_a_state_of_its_own(kind: str) -> None:
    made = env(kind)
    opening = made.start(YES, 0)
    assert isinstance(opening.state, dict) and opening.state["left"] == 3
    before = copy.deepcopy(opening.state)
    first = made.reply(opening.state, "maybe")
    assert not first.done and first.verdict.score == 0.0
    assert first.messages[0].role == "user" and first.messages[0].content == "again, 2"
    assert opening.state == before
    # Two turns from one state do not see one another.
    won, lost = made.reply(first.state, "yes"), made.reply(first.state, "no")
    assert won.done and won.verdict.passed and not won.messages
    assert lost.done and lost.verdict.score == 0.0  # its three turns are over
    assert made.reply(first.state, "yes") == won


def test_rows_become_problems_with_prompts_held_out_whole(tmp_path: Path) -> None:
    stage = ForeignProblems(env=env("one"), num_heldout=1)
    ctx = Context.for_test(tmp_path, outputs=stage.outputs)
    stage.run(ctx)
    train, heldout = (read_problems(ctx.output(n)) for n in ("train", "heldout"))
    assert len(train) + len(heldout) == 3 and heldout
    assert {p.prompt.id for p in train}.isdisjoint(p.prompt.id for p in heldout)
    with pytest.raises(DataError, match=r"row 1: needs `prompt`"):
        foreign_problem({"answer": "x"}, "row 1")
    with pytest.raises(DataError, match=r"row 1: `info` cannot be written"):
        foreign_problem({"prompt": "x", "info": {"a": object()}}, "row 1")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("no_such_module:x", "cannot be imported"),
        (f"{HERE}:absent", "has no absent"),
        (f"{HERE}:ROWS", "list has no `rubric`"),
    ],
)
def test_a_target_that_is_no_environment_is_refused(target: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ForeignEnv(target=target).opened()


def test_a_recipe_names_it() -> None:
    with pytest.raises(ConfigError, match="module:attribute"):
        ForeignEnv(target="module")
    made = build(
        EvaluateEnv,
        {
            "models": {"one": "base.model"},
            "problems": ["rows.heldout"],
            "env": {"foreign_env": {"target": "a:b", "arguments": {"n": 3}}},
            "draws": {"max_new_tokens": 4},
        },
    )
    assert made.env == ForeignEnv(target="a:b", arguments={"n": 3})


def test_what_is_no_row_of_it_and_no_reward_is_said() -> None:
    with pytest.raises(DataError, match="not of a foreign environment"):
        env("one").start(Problem(prompt=Conversation.of("a"), task="exact"), 0)
