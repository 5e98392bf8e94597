"""The stages of the studies: what they draw, force, rank, count and write."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.data.store import (
    Sampled,
    read_conversations,
    read_rows,
    write_conversations,
    write_problems,
)
from burnish.engine.text_model import TextModel
from burnish.envs.worked_sums import worked_sums
from burnish.errors import ConfigError, DataError, ModelError
from burnish.models.load import open_causal_lm
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.budget_forcing import BudgetForcing
from burnish.stages.control import Control
from burnish.stages.nested_subsets import NestedSubsets
from burnish.stages.report_optimum import EXPECTED
from burnish.stages.rl import RL
from burnish.stages.sample import Draws
from burnish.stages.thermostat_optimum import ThermostatOptimum
from burnish.stages.token_shift import TokenShift, ranks_of, token_ranks
from burnish.stages.training_scaling import Spent, TrainingScaling
from burnish.types import Conversation, Finish, Problem
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.unit.cli.tiny_model import write_model
from tests.unit.stages.test_control import THERMOSTAT

MODEL, PROBLEMS = Ref("a", "model"), Ref("a", "problems")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shared")
    problems, shown = worked_sums(6, seed=0, min_terms=3, max_terms=4)
    write_problems(folder / "problems.jsonl", problems)
    write_conversations(folder / "talks.jsonl", shown)
    return {
        "model": write_model(folder / "model"),
        "other": write_model(folder / "other", seed=1),
        "problems": folder / "problems.jsonl",
        "talks": folder / "talks.jsonl",
    }


def run(stage: Any, tmp_path: Path, **inputs: Path) -> Context:
    named = {f"a.{name}": path for name, path in inputs.items()}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=named)
    stage.run(ctx)
    return ctx


def rows_of(ctx: Context) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ctx.output("curves").read_text())
    return found


FORCING = BudgetForcing(
    models={"tiny": MODEL},
    problems=PROBLEMS,
    draws=Draws(max_new_tokens=12),
    budgets=(0, 3, 100),
    waits=2,
    mark="=",  # a random model writes it now and then
    wait="no",
    answer_tokens=3,
    num_problems=6,
    num_samples=2,
    precision="float32",
)


@pytest.fixture(scope="module")
def forced(shared: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("forced")
    return run(FORCING, folder, model=shared["model"], problems=shared["problems"])


def by_point(ctx: Context) -> dict[tuple[str, int], list[dict[str, Any]]]:
    points: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows_of(ctx):
        points.setdefault((row["way"], row["at"]), []).append(row)
    return points


def test_every_problem_is_answered_at_every_length_of_thinking(forced: Context) -> None:
    points = by_point(forced)
    assert list(points) == [
        ("cut", 0),
        ("cut", 3),
        ("cut", 100),
        ("own", 0),
        ("wait", 1),
        ("wait", 2),
    ]
    assert all(len(rows) == 12 for rows in points.values())


def test_a_budget_cuts_the_same_chain_that_runs_freely(forced: Context) -> None:
    points = by_point(forced)
    for short, free in zip(points["cut", 3], points["own", 0], strict=True):
        assert short["thinking"] == min(3, free["thinking"])
        assert (short["problem"], short["sample"]) == (free["problem"], free["sample"])
    assert [r["thinking"] for r in points["cut", 100]] == [r["thinking"] for r in points["own", 0]]
    assert all(row["thinking"] == 0 for row in points["cut", 0])
    assert len({row["thinking"] for row in points["own", 0]}) > 1


def test_a_wait_is_written_behind_the_thinking_that_was_there_and_goes_on_from_it(
    forced: Context,
) -> None:
    points = by_point(forced)
    for before, after in zip(points["own", 0], points["wait", 1], strict=True):
        thought = before["completion"].partition("=")[0].rstrip("\n")
        assert after["completion"].startswith(thought)
        assert after["thinking"] > before["thinking"]
    assert all("no" in row["completion"] for row in points["wait", 1])


def test_the_mark_is_written_behind_thinking_that_has_none(forced: Context) -> None:
    points = by_point(forced)
    for way, at in (("cut", 0), ("cut", 3), ("cut", 100)):
        for short, free in zip(points[way, at], points["own", 0], strict=True):
            thought, mark, _ = short["completion"].partition("=")
            assert mark and free["completion"].startswith(thought.rstrip("\n"))
            assert short["tokens"] >= short["thinking"] + 2  # the mark and an answer
            assert at or not thought
    for row in points["wait", 2]:
        assert row["completion"].partition("=")[0].count("no") >= 2


def test_tokens_spent_are_those_that_were_sampled(forced: Context) -> None:
    # thinking (or until the mark) and answers; what is written for the model is not sampled
    spent = forced.tallies.spent["sampled_tokens"]
    assert 0 < spent <= 12 * (3 * 12 + 6 * 3)
    assert forced.tallies.counts["chains of thinking cut at 12 tokens"]["of"] == 12


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budgets": (3, 3)}, "budgets must rise"),
        ({"budgets": (-1,)}, "budgets must rise"),
        ({"waits": -1}, "waits"),
        ({"mark": " "}, "mark"),
        ({"wait": ""}, "wait must"),
        ({"models": {}}, "models"),
        ({"draws": Draws(max_new_tokens=4, temperature=0)}, "num_samples must be 1"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(FORCING, **changed)


def test_chains_that_fill_the_context_are_refused_by_name(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    small = write_model(tmp_path / "small", context=70)
    stage = replace(FORCING, draws=Draws(max_new_tokens=60), waits=3)
    with pytest.raises(DataError, match=r"fill the model's context of 70 tokens; lower waits"):
        run(stage, tmp_path, model=small, problems=shared["problems"])


def test_ranks_count_the_logits_above_the_target() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 5.0, 0.0]])
    assert ranks_of(logits, torch.tensor([2, 1])).tolist() == [3, 2]
    assert ranks_of(logits, torch.tensor([3, 2])).tolist() == [1, 1]  # a tie is not above


def test_ranks_are_those_of_a_plain_forward_pass(shared: dict[str, Path]) -> None:
    tokenizer = tiny_tokenizer()
    text = TextModel.open(shared["model"], "float32")
    model = open_causal_lm(shared["other"], "float32", "cpu")
    problems = [Problem(prompt=Conversation.of(f"Say {i}"), task="t") for i in range(3)]
    items = [
        Sampled(
            problem=p,
            index=0,
            text="",
            prompt_ids=text.prompt(p.prompt),
            tokens=tokens,
            logprob=0.0,
            finish=Finish.STOP,
        )
        for p, tokens in zip(problems, ((5, 9, 70), (8,), (100, 3)), strict=True)
    ]
    plain = tiny_llama(tokenizer, 1)
    expected = []
    for item in items:
        with torch.no_grad():
            logits = plain(torch.tensor([[*item.prompt_ids, *item.tokens]])).logits[0]
        start = len(item.prompt_ids) - 1
        expected.append(
            [
                1 + int((logits[start + t] > logits[start + t, token]).sum())
                for t, token in enumerate(item.tokens)
            ]
        )
    for budget in (20, 4096):
        assert token_ranks(model, items, budget) == expected


def test_a_model_beside_itself_is_unshifted_everywhere(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = TokenShift(
        start=MODEL,
        models={"same": MODEL, "other": Ref("a", "other")},
        problems=PROBLEMS,
        max_new_tokens=8,
        num_problems=4,
        precision="float32",
    )
    inputs = {k: shared[k] for k in ("model", "other", "problems")}
    rows = rows_of(run(stage, tmp_path, **inputs))
    assert len(rows) == 8 and all(len(r["ranks"]) == len(r["tokens"]) for r in rows)
    assert {rank for r in rows if r["model"] == "same" for rank in r["ranks"]} == {1}
    assert max(rank for r in rows if r["model"] == "other" for rank in r["ranks"]) > 3


def test_a_start_with_other_words_is_refused(shared: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(vocab_size=300)
    tiny_llama(tokenizer).save_pretrained(tmp_path / "words")
    tokenizer.save_pretrained(tmp_path / "words")
    stage = TokenShift(
        start=Ref("a", "words"), models={"m": MODEL}, problems=PROBLEMS, max_new_tokens=4
    )
    inputs = {"model": shared["model"], "problems": shared["problems"], "words": tmp_path / "words"}
    with pytest.raises(ModelError, match="tokenizers differ"):
        run(stage, tmp_path, **inputs)


def test_portions_are_nested_and_as_large_as_asked(shared: dict[str, Path], tmp_path: Path) -> None:
    stage = NestedSubsets(conversations=Ref("a", "talks"), sizes=(1, 3, 6))
    ctx = run(stage, tmp_path, talks=shared["talks"])
    parts = [read_conversations(ctx.output(f"first_{size}")) for size in (1, 3, 6)]
    assert [len(part) for part in parts] == [1, 3, 6]
    assert parts[0] == parts[1][:1] and parts[1] == parts[2][:3]
    assert {p.last_user for p in parts[2]} == {
        c.last_user for c in read_conversations(shared["talks"])
    }


def test_more_portions_than_there_are_demonstrations_are_refused(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="there are 6 conversations"):
        run(
            NestedSubsets(conversations=Ref("a", "talks"), sizes=(3, 7)),
            tmp_path,
            talks=shared["talks"],
        )
    with pytest.raises(ConfigError, match="rise"):
        NestedSubsets(conversations=MODEL, sizes=(3, 3))


def test_operations_are_two_a_token_read_and_six_a_token_trained_on() -> None:
    spent = Spent(step=1, sampled_tokens=3, scored_tokens=2, trained_tokens=10)
    assert spent.flops(100) == 100 * (2 * 5 + 6 * 10)


def trained(shared: dict[str, Path], path: Path, snapshots: int) -> Context:
    from burnish.algos.grpo import GRPO
    from burnish.engine.optim import Optim

    stage = RL(
        model=MODEL, problems=PROBLEMS, algorithm=GRPO(), optim=Optim(lr=1e-2), steps=4,
        problems_per_step=2, group_size=2, draws=Draws(max_new_tokens=4), num_snapshots=snapshots,
        precision="float32",
    )  # fmt: skip
    return run(stage, path, model=shared["model"], problems=shared["problems"])


SCALING = TrainingScaling(
    start=MODEL,
    snapshots={"rl": Ref("a", "snapshots")},
    finals={"rl": Ref("a", "final")},
    problems=PROBLEMS,
    draws=Draws(max_new_tokens=4, temperature=0),
    precision="float32",
)


def test_snapshots_are_measured_over_what_each_had_cost(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    rl = trained(shared, tmp_path / "rl", 2)
    ctx = run(
        SCALING,
        tmp_path / "scaling",
        model=shared["model"],
        problems=shared["problems"],
        snapshots=rl.output("snapshots"),
        final=rl.output("model"),
    )
    rows = rows_of(ctx)
    steps = [row["step"] for row in rows[::6]]
    assert steps == [0, 1, 3, 4] and len(rows) == 24
    spent = [row["sampled_tokens"] for row in rows[::6]]
    assert spent[0] == 0 and spent == sorted(set(spent))
    assert spent[-1] == rl.tallies.spent["sampled_tokens"]
    assert rows[-1]["trained_tokens"] == rl.tallies.spent["trained_tokens"]
    assert rows[0]["flops"] == 0 and rows[-1]["flops"] > rows[6]["flops"]


def test_runs_without_snapshots_or_their_cost_are_refused(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    rl = trained(shared, tmp_path / "rl", 1)
    inputs = {k: shared[k] for k in ("model", "problems")} | {"final": rl.output("model")}
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="set num_snapshots"):
        run(SCALING, tmp_path / "a", snapshots=tmp_path / "none", **inputs)
    (rl.output("snapshots") / "step-00002" / "spent.json").unlink()
    with pytest.raises(DataError, match=r"spent\.json: does not say"):
        run(SCALING, tmp_path / "b", snapshots=rl.output("snapshots"), **inputs)
    with pytest.raises(ConfigError, match="same runs"):
        replace(SCALING, finals={"other": MODEL})


def test_learned_policies_play_the_same_days_as_the_optimum(tmp_path: Path) -> None:
    control = Context.for_test(tmp_path / "control", outputs=Control.outputs, run_seed=7)
    THERMOSTAT.run(control)
    stage = ThermostatOptimum(policy=Ref("a", "policy"), episodes=8, spacing_f=0.2, num_means=5)
    ctx = run(stage, tmp_path / "best", policy=control.output("policy"))
    rows = read_rows(ctx.output("scores"))
    assert [row["model"] for row in rows[::8]] == ["optimum", "rule", "seed-0"]
    means = {m: sum(r["score"] for r in rows if r["model"] == m) / 8 for m in ("optimum", "seed-0")}
    assert means["optimum"] > means["seed-0"] + 20  # of a few hundred steps of training
    assert abs(ctx.tallies.values[EXPECTED] - means["optimum"]) < 5


def test_policies_of_another_environment_are_refused(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "config.json").write_text('{"env": "CartPole-v1", "policies": []}')
    stage = ThermostatOptimum(policy=Ref("a", "policy"), episodes=2, spacing_f=0.2, num_means=2)
    with pytest.raises(DataError, match="for CartPole-v1"):
        run(stage, tmp_path, policy=tmp_path / "policy")
