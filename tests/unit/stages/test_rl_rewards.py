"""RL stages with rewards of all kinds: from the recipe to the metrics, counts and the report."""

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.algos.grpo import GRPO
from burnish.data.store import write_problems
from burnish.engine.optim import Optim
from burnish.errors import ConfigError, RewardError
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Ref
from burnish.pipeline.recipe import dump, load
from burnish.pipeline.stage import Context
from burnish.pipeline.wiring import Input, inputs_of
from burnish.stages import STAGES
from burnish.stages.rl import RL
from burnish.stages.sample import Draws
from burnish.types import Conversation, Problem
from burnish.verifiers.combine import ModelReward, Part, ProblemVerifier, WeightedSum
from burnish.verifiers.format import Format
from burnish.verifiers.length import Length
from burnish.verifiers.user_function import UserFunction
from tests.tiny import tiny_llama, tiny_tokenizer

MODEL, PROBLEMS = Ref("a", "model"), Ref("a", "problems")

RECIPE = """
name: mine
stages:
  base: {{stage: load_model, name: smollm2}}
  data: {{stage: everyday_problems, num_train: 8, num_heldout: 4}}
  rl:
    stage: rl
    model: base.model
    problems: data.train
    algorithm: grpo
    optim: {{lr: 1.0e-5}}
    steps: 2
    problems_per_step: 2
    group_size: 4
    draws: {{max_new_tokens: 8}}
    reward: {reward}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    problems = [
        Problem(prompt=Conversation.of(f"Write about {word}."), task="exact", answer="7")
        for word in ("seas", "cats", "dogs", "sums")
    ]
    write_problems(folder / "problems.jsonl", problems)
    return {"a.model": folder / "model", "a.problems": folder / "problems.jsonl"}


def rl(**changed: Any) -> RL:
    given: dict[str, Any] = {
        "model": MODEL,
        "problems": PROBLEMS,
        "algorithm": GRPO(),
        "optim": Optim(lr=1e-3),
        "steps": 2,
        "problems_per_step": 2,
        "group_size": 4,
        "draws": Draws(max_new_tokens=6),
        "precision": "float32",
    }
    return RL(**(given | changed))


def run(stage: RL, tmp_path: Path, made: dict[str, Path]) -> Context:
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=made)
    stage.run(ctx)
    ctx.finish()
    return ctx


def own(tmp_path: Path, body: str, **knobs: Any) -> UserFunction:
    path = tmp_path / "my_rewards.py"
    path.write_text(f"def score(prompt, completion, answer, meta):\n    {body}\n")
    return UserFunction(path=str(path), workers=2, **knobs)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_users_function_trains_and_its_part_is_logged(
    made: dict[str, Path], tmp_path: Path
) -> None:
    reward = WeightedSum(
        parts={
            "own": Part(weight=2.0, reward=own(tmp_path, "return completion.count('e')")),
            "size": Part(weight=0.5, reward=Length(low=1, high=3, slack=3)),
            "right": Part(weight=0.0, reward=ProblemVerifier()),
        }
    )
    ctx = run(rl(reward=reward), tmp_path, made)
    for row in read_metrics(ctx.dir / "metrics.jsonl"):
        whole = 2 * row["rl/reward/own"] + 0.5 * row["rl/reward/size"]
        assert row["rl/score"] == pytest.approx(whole)
        assert row["rl/failed"] == row["rl/unscored"] == row["rl/reward/right"] == 0.0
    assert weights(ctx.output("model")) != weights(made["a.model"])
    assert ctx.tallies.counts == {}


def test_failures_are_counted_in_metrics_and_in_the_stages_counts(
    made: dict[str, Path], tmp_path: Path
) -> None:
    body = "return 1 / (len(completion) % 2)"
    reward = own(tmp_path, body, max_failures=1.0)
    ctx = run(rl(reward=reward, steps=3), tmp_path, made)
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    failed = int(sum(row["rl/failed"] for row in rows))
    assert failed == sum(row.get("rl/failed/raised", 0) for row in rows) > 0
    tallies = json.loads((ctx.dir / "tallies.json").read_text())
    assert tallies["counts"] == {"completions without a reward: raised": {"n": failed}}
    shown = [json.loads(line) for line in (ctx.dir / "samples.jsonl").read_text().splitlines()]
    why = {row["why"] for row in shown if row["score"] is None}
    assert all(text == "raised: ZeroDivisionError: division by zero (line 2)" for text in why)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise ValueError('no')", "raised"),
        ("import sys; sys.exit()", "exited"),
        ("import os; os._exit(1)", "died"),
        ("return float('nan')", "not_finite"),
        ("return 'good'", "not_a_number"),
        ("return 1j", "not_a_number"),
    ],
)
def test_a_function_that_always_fails_ends_the_run_with_its_cause(
    made: dict[str, Path], tmp_path: Path, body: str, cause: str
) -> None:
    with pytest.raises(RewardError, match=f"8 of the last 8 completions failed, 8 .* `{cause}`"):
        run(rl(reward=own(tmp_path, body)), tmp_path, made)


@pytest.mark.parametrize("body", ["return float('inf')", "return 0.25", "return None"])
def test_rewards_that_tell_nothing_apart_change_no_weight(
    made: dict[str, Path], tmp_path: Path, body: str
) -> None:
    ctx = run(rl(reward=own(tmp_path, body, max_failures=1.0)), tmp_path, made)
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    assert [row["train/grad_norm"] for row in rows] == [0.0, 0.0]
    assert weights(ctx.output("model")) == weights(made["a.model"])


def test_what_one_group_cannot_use_leaves_the_others_trained(
    made: dict[str, Path], tmp_path: Path
) -> None:
    body = "return [None, 'x', float('nan'), 1j][len(completion) % 4] if 'c' in prompt else 0.5"
    ctx = run(rl(reward=own(tmp_path, body, max_failures=1.0), steps=1), tmp_path, made)
    assert weights(ctx.output("model")) == weights(made["a.model"])
    body = body.replace("else 0.5", "else completion.count('e') + len(completion)")
    ctx = run(rl(reward=own(tmp_path, body, max_failures=1.0)), tmp_path / "b", made)
    assert weights(ctx.output("model")) != weights(made["a.model"])


def test_batched_functions_see_a_group_and_a_wrong_length_unscores_it(
    made: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "batched.py"
    path.write_text(
        "def score(prompts, completions, answers, metas):\n"
        "    assert len(set(prompts)) == 1 and answers == ['7'] * 4\n"
        "    best = max(completions, key=len)\n"
        "    return [float(c == best) for c in completions][: 3 if 'c' in prompts[0] else 4]\n"
    )
    reward = UserFunction(path=str(path), batched=True, max_failures=1.0)
    ctx = run(rl(reward=reward), tmp_path, made)
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    # each of the four problems is drawn once in the two steps, and one of them has a c: cats
    assert sum(row.get("rl/failed/wrong_length", 0) for row in rows) == 4.0
    assert all(row["rl/score"] > 0 for row in rows if row["rl/unscored"] < 8)


def test_results_do_not_depend_on_the_number_of_workers(
    made: dict[str, Path], tmp_path: Path
) -> None:
    after = []
    for workers in (1, 3):
        reward = UserFunction(
            path=own(tmp_path, "return hash(len(completion))").path, workers=workers
        )
        folder = tmp_path / str(workers)
        after.append(weights(run(rl(reward=reward), folder, made).output("model")))
    assert after[0] == after[1]


def test_one_completion_a_problem_is_refused() -> None:
    with pytest.raises(ConfigError, match="group_size must be at least 2"):
        rl(group_size=1)


def recipe(tmp_path: Path, reward: str, *overrides: str) -> Any:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE.format(reward=reward))
    return load(file, STAGES, overrides)


@pytest.mark.parametrize(
    "reward",
    [
        "problem_verifier",
        "{repetition: {n: 3}}",
        "{format: {tags: [think, answer]}}",
        "{all_of: {parts: {line: {format: {last_line: 'Answer:'}}, fresh: repetition}}}",
        "{weighted_sum: {parts: {a: {reward: {all_of: {parts: {b: {language: {target: de}}}}}}}}}",
    ],
)
def test_a_reward_in_yaml_round_trips(tmp_path: Path, reward: str) -> None:
    first = recipe(tmp_path, reward)
    again = tmp_path / "again.yaml"
    again.write_text(dump(first))
    assert load(again, STAGES).stages == first.stages


def test_parts_are_reached_by_overrides_and_their_references_are_inputs(tmp_path: Path) -> None:
    reward = (
        "{weighted_sum: {parts: {size: {weight: 0.5, reward: {length: {low: 3, high: 9}}}, "
        "shape: {reward: {format: {pattern: a+}}}}}}"
    )
    changed = recipe(tmp_path, reward, "rl.reward.parts.size.weight=0.75").stages["rl"]
    assert changed.reward.parts["size"] == Part(weight=0.75, reward=Length(low=3, high=9))
    assert changed.reward.parts["shape"].reward == Format(pattern="a+")
    with pytest.raises(ConfigError, match=r"mine.yaml:.*`stages.rl.reward.lenght`|choose one: did"):
        recipe(tmp_path, "{lenght: {low: 3, high: 9}}")
    judge = rl(
        reward=WeightedSum(parts={"rm": Part(reward=ModelReward(model=Ref("b", "reward_model")))})
    )
    wanted = Input("reward.parts.rm.reward.model", Ref("b", "reward_model"), ("reward_model",))
    assert wanted in inputs_of(judge)


def test_reward_model_is_short_for_a_model_reward() -> None:
    ref = Ref("b", "reward_model")
    assert rl(reward_model=ref).judged_by == ModelReward(model=ref)
    assert rl(reward_model=ref).work() == rl(reward=ModelReward(model=ref)).work()
    with pytest.raises(ConfigError, match="reward_model and reward are both given"):
        rl(reward_model=ref, reward=Format(pattern="x"))


def test_editing_the_function_changes_the_stages_key(tmp_path: Path) -> None:
    user = own(tmp_path, "return 1")
    reward = f"{{user_function: {{path: {user.path}}}}}"
    first = recipe(tmp_path, reward).keys()
    assert recipe(tmp_path, reward).keys() == first
    own(tmp_path, "return 2")
    second = recipe(tmp_path, reward).keys()
    assert {name for name in first if first[name] != second[name]} == {"rl"}
    (tmp_path / "my_rewards.py").write_text("def other(): pass")
    with pytest.raises(ConfigError, match="defines no function `score`"):
        recipe(tmp_path, reward).keys()
