"""RL and evaluation in environments: what is written down, resumed, and refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from burnish.algos.grpo import GRPO
from burnish.algos.ppo import PPO
from burnish.data.store import read_conversations, read_problems, read_rows, write_problems
from burnish.engine.curriculum import Curriculum
from burnish.engine.episodes import Limits
from burnish.engine.optim import Optim
from burnish.envs.guessing import GuessingGame
from burnish.envs.protocol import Opening, Reply
from burnish.envs.single_turn import SingleTurn
from burnish.envs.tool_use import ToolUse
from burnish.errors import ConfigError, Interrupted
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.evaluate_env import EvaluateEnv
from burnish.stages.guessing_problems import GuessingProblems
from burnish.stages.rl import RL
from burnish.stages.sample import Draws
from burnish.stages.tool_sums import ToolSums
from burnish.types import Conversation, Message, Problem, Verdict
from tests.tiny import tiny_llama, tiny_tokenizer

MODEL, PROBLEMS, REWARD = Ref("a", "model"), Ref("a", "problems"), Ref("a", "reward_model")
GAME = GuessingGame(max_guesses=3, information_coef=0.5)
TIMES = {"train/seconds", "rl/sample_seconds"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of which every second token ends its turn, and games."""
    folder = tmp_path_factory.mktemp("shared")
    tokenizer = tiny_tokenizer()
    model = tiny_llama(tokenizer)
    model.model.norm.weight.data.mul_(0.05)  # nearly uniform, so that it also stops
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    games = [replace(GAME.problem(s), meta=json.dumps({"level": s % 3})) for s in range(1, 13)]
    write_problems(folder / "games.jsonl", games)
    sums = [Problem(prompt=Conversation.of("2 + 3"), task="exact", answer="5")]
    write_problems(folder / "sums.jsonl", sums)
    return {
        "model": folder / "model",
        "problems": folder / "games.jsonl",
        "sums": folder / "sums.jsonl",
    }


@dataclass(frozen=True)
class Lottery:
    """Two turns; completions of an even number of characters win."""

    def start(self, problem: Problem, key: int) -> Opening:
        return Opening(conversation=problem.prompt, state=0)

    def reply(self, state: object, completion: str) -> Reply:
        assert isinstance(state, int)
        won = len(completion) % 2 == 0
        more = (Message(role="user", content="Again."),)
        return Reply(
            state=state + 1,
            verdict=Verdict(score=float(won), passed=won),
            done=state == 1,
            messages=() if state == 1 else more,
        )


def rl(**given: Any) -> RL:
    settings: dict[str, Any] = {
        "model": MODEL,
        "problems": PROBLEMS,
        "env": GAME,
        "limits": Limits(max_turns=3),
        "algorithm": GRPO(kl_coef=0.02),
        "optim": Optim(lr=1e-2),
        "steps": 4,
        "problems_per_step": 2,
        "group_size": 4,
        "draws": Draws(max_new_tokens=80),
        "precision": "float32",
        "checkpoint_s": 0.0,
    }
    return RL(**settings | given)


def run(stage: Any, tmp_path: Path, inputs: dict[str, Path], **given: Any) -> Context:
    named = {f"a.{name}": path for name, path in inputs.items()}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=named, **given)
    stage.run(ctx)
    return ctx


def rows(ctx: Context) -> list[dict[str, Any]]:
    found = read_metrics(ctx.dir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def test_rl_in_a_game_writes_down_turns_credit_and_whole_episodes(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    ctx = run(rl(algorithm=PPO(kl_coef=0.02)), tmp_path, inputs)
    found = rows(ctx)
    assert len(found) == 4 and all(row.get("rl/ratio_gap", 0) < 1e-3 for row in found)
    assert any(row["env/turns"] > 1 for row in found)
    for row in found:
        cut = row["env/cut_tokens"] + row["env/cut_context"] + row["env/cut_turns"]
        assert row["rl/truncated"] * 8 == pytest.approx(cut)
    shown = [json.loads(x) for x in (ctx.dir / "samples.jsonl").read_text().splitlines()]
    assert len(shown) == 8 and all(row["completion"].startswith("[assistant] ") for row in shown)
    assert any('\n[user] write "Guess:"' in row["completion"] for row in shown)


def stopping_after(num: int) -> Iterator[bool]:
    return chain(repeat(False, num), repeat(True))


@pytest.mark.parametrize("asked", [1, 2])
def test_a_stopped_run_goes_on_to_the_same_bytes_curriculum_included(
    inputs: dict[str, Path], tmp_path: Path, asked: int
) -> None:
    stage = rl(curriculum=Curriculum(threshold=0.01, window=8), env=Lottery())
    whole = run(stage, tmp_path / "whole", inputs)
    levels = [row["env/level"] for row in rows(whole)]
    asks = stopping_after(asked)
    with pytest.raises(Interrupted):
        run(stage, tmp_path / "cut", inputs, stopping=lambda: next(asks))
    again = run(stage, tmp_path / "cut", inputs)
    assert rows(again) == rows(whole) and levels[0] == 0
    assert len(set(levels)) > 1, "the fixture should reach a level"
    one, two = (ctx.output("model") / "model.safetensors" for ctx in (whole, again))
    assert one.read_bytes() == two.read_bytes()


def test_evaluation_has_a_row_an_episode_and_counts_what_was_cut(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    stage = EvaluateEnv(
        models={"one": MODEL, "two": MODEL},
        problems=(PROBLEMS,),
        env=GAME,
        limits=Limits(max_turns=2),
        draws=Draws(max_new_tokens=40),
        precision="float32",
    )
    ctx = run(stage, tmp_path, inputs)
    found = read_rows(ctx.output("scores"))
    assert [r["model"] for r in found] == ["one"] * 12 + ["two"] * 12
    # The same model, seed and problems: the same episodes.
    assert [r["completion"] for r in found[:12]] == [r["completion"] for r in found[12:]]
    counts = ctx.tallies.counts
    for what in ("tokens", "context", "turns"):
        n = sum(r["cut"] == what for r in found)
        assert counts[f"episodes cut by the limit of {what}"] == {"n": n, "of": 24}
    assert ctx.tallies.values["malformed"] == sum(r["turns"] for r in found)


def test_reward_models_and_limits_without_an_environment_are_refused() -> None:
    with pytest.raises(ConfigError, match="reward_model are for completions without an env"):
        rl(reward_model=REWARD)
    with pytest.raises(ConfigError, match="limits are those of an env"):
        rl(env=None)
    assert rl(env=None, limits=Limits()).env is None and rl(env=SingleTurn()).env == SingleTurn()


def test_tool_sums_come_in_words_and_the_demonstrations_are_solved(tmp_path: Path) -> None:
    stage = ToolSums(num_train=12, num_heldout=8, num_demonstrations=10, worded=0.2)
    ctx = run(stage, tmp_path, {})
    train, heldout = (read_problems(ctx.output(n)) for n in ("train", "heldout"))
    shown = read_conversations(ctx.output("demonstrations"))
    assert (len(train), len(heldout), len(shown)) == (12, 8, 10)
    texts = {p.prompt.last_user for p in (*train, *heldout)}
    assert len(texts) == 20 and texts.isdisjoint(c.messages[1].content for c in shown)
    assert not any("What is" in text for text in texts)
    assert sum("What is" in c.messages[1].content for c in shown) == 8
    for talk in shown:
        roles = [m.role for m in talk.messages]
        assert roles == ["system", "user", "assistant", "tool", "assistant"]
        assert talk.messages[-1].content == f"Answer: {talk.messages[3].content}"
    with pytest.raises(ConfigError, match="calculator"):
        ToolSums(
            num_train=1, num_heldout=1, num_demonstrations=1,
            env=ToolUse(tools=("search",), folder="x"),
        )  # fmt: skip


def test_games_are_split_by_their_numbers(tmp_path: Path) -> None:
    ctx = run(GuessingProblems(num_heldout=6, num_demonstrations=5), tmp_path, {})
    parts = [{p.answer for p in read_problems(ctx.output(n))} for n in ("train", "heldout")]
    games = read_conversations(ctx.output("demonstrations"))
    shown = {g.messages[-1].content.removeprefix("Guess: ") for g in games}
    assert [len(p) for p in (*parts, shown)] == [20, 6, 5]
    assert len(set.union(*parts, shown)) == 31
    with pytest.raises(ConfigError, match="leave no number"):
        GuessingProblems(num_heldout=16, num_demonstrations=15)
    with pytest.raises(ConfigError, match="halving needs 5"):
        GuessingProblems(num_heldout=1, num_demonstrations=1, env=GuessingGame(max_guesses=4))
