"""Every training on a GPU, which is pretended: nothing stays behind on the processor, and the
numbers are those that the processor finds."""

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import burnish.stages
from burnish.algos.dpo import DPO
from burnish.algos.grpo import GRPO
from burnish.algos.ppo import PPO
from burnish.data.store import write_comparisons, write_conversations, write_problems
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.metrics import read_metrics
from burnish.models.lora import LoRA
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.attributes import TrainAttributes
from burnish.stages.distill import Distill
from burnish.stages.evaluate import Evaluate
from burnish.stages.outcome import TrainOutcome
from burnish.stages.prefer import Prefer
from burnish.stages.process import TrainProcess
from burnish.stages.reward import TrainReward
from burnish.stages.rl import RL
from burnish.stages.sample import Draws, Sample
from burnish.stages.sft import SFT
from burnish.types import Comparison, Conversation, Problem
from tests.pretend_gpu import DEVICE, pretend_gpu
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.unit.stages.test_reward_stages import rated, verified, worked

PROMPTS = [Conversation.of(f"Write about the {word}.") for word in ("sea", "cat", "dog", "sum")]
MODEL, PROBLEMS, REWARD = Ref("a", "model"), Ref("a", "problems"), Ref("a", "reward")
KNOWN: dict[str, Any] = {"model": MODEL, "optim": Optim(lr=1e-3), "precision": "float32"}
COMMON = KNOWN | {"passes": Passes(batch_rows=2, max_steps=2)}
REWARDS = COMMON | {"heldout": 0.4}
ROLLOUTS = KNOWN | {
    "problems": PROBLEMS,
    "steps": 2,
    "problems_per_step": 2,
    "draws": Draws(max_new_tokens=6),
}
RL_COMMON = ROLLOUTS | {"group_size": 3, "kl_audit_rows": 2}
JUDGE = TrainReward(**REWARDS, comparisons=Ref("a", "comparisons"), problems=PROBLEMS)
STAGES: dict[str, Any] = {
    "sft": SFT(**COMMON, data=(Ref("a", "chats"),)),
    "adapters": SFT(**COMMON, data=(Ref("a", "chats"),), lora=LoRA(rank=2)),
    "dpo": Prefer(**COMMON, comparisons=Ref("a", "comparisons"), algorithm=DPO()),
    "reward": JUDGE,
    "outcome": TrainOutcome(**REWARDS, completions=Ref("a", "verified")),
    "process": TrainProcess(**REWARDS, steps=Ref("a", "worked")),
    "attributes": TrainAttributes(
        **REWARDS, ratings=Ref("a", "rated"), weights={"helpfulness": 1.0, "verbosity": -0.05}
    ),
    "grpo": RL(**RL_COMMON, algorithm=GRPO(kl_coef=0.1)),
    "grpo of cut draws": RL(
        **RL_COMMON | {"draws": Draws(max_new_tokens=6, top_k=50, top_p=0.9, min_p=0.001)},
        algorithm=GRPO(kl_coef=0.1),
    ),
    "grpo of adapters": RL(**RL_COMMON, algorithm=GRPO(kl_coef=0.1), lora=LoRA(rank=2)),
    "ppo": RL(**RL_COMMON, algorithm=PPO(), reward_model=REWARD, epochs=2),
    "distillation": Distill(**ROLLOUTS, teacher=Ref("a", "teacher"), num_samples=2),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Two models, a reward model, and data of every kind."""
    folder = tmp_path_factory.mktemp("inputs")
    names = ("model", "teacher", "problems", "comparisons", "chats", "verified", "worked", "rated")
    found = {f"a.{name}": folder / name for name in names}
    tokenizer = tiny_tokenizer()
    for name, seed in (("model", 0), ("teacher", 1)):
        tiny_llama(tokenizer, seed).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    write_problems(folder / "problems", [Problem(prompt=p, task="everyday") for p in PROMPTS])
    pairs = [
        Comparison(prompt=p, a="The sea is wide.", b="dog", winner="a", annotator="test")
        for p in PROMPTS
    ]
    write_comparisons(folder / "comparisons", pairs)
    write_conversations(folder / "chats", [p.then("The sea is wide.") for p in PROMPTS])
    for write, name in ((verified, "verified"), (worked, "worked"), (rated, "rated")):
        write(folder / name)  # type: ignore[no-untyped-call]
    ctx = Context.for_test(folder / "judge", outputs=JUDGE.outputs, inputs=found)
    JUDGE.run(ctx)
    return found | {"a.reward": ctx.output("reward_model")}


def ran(stage: Any, folder: Path, inputs: Mapping[str, Path], device: str) -> Context:
    ctx = Context.for_test(folder / device, outputs=stage.outputs, inputs=inputs, device=device)
    stage.run(ctx)
    return ctx


def measured(ctx: Context) -> list[dict[str, float]]:
    """Its metrics, except for times."""
    return [
        {name: value for name, value in row.items() if "seconds" not in name}
        for row in read_metrics(ctx.metrics.path)
    ]


@pytest.mark.parametrize("name", STAGES)
def test_a_training_on_a_gpu_is_the_one_on_the_processor(
    name: str, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    on_cpu = measured(ran(STAGES[name], tmp_path, inputs, "cpu"))
    with pretend_gpu():
        on_gpu = measured(ran(STAGES[name], tmp_path, inputs, DEVICE))
        rounded = replace(STAGES[name], precision="bfloat16")
        assert len(measured(ran(rounded, tmp_path / "bfloat16", inputs, DEVICE))) == 2
    assert len(on_gpu) == len(on_cpu) == 2
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_what_is_sampled_and_measured_on_a_gpu_is_what_is_on_the_processor(
    inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    draws, stages = Draws(max_new_tokens=6), {}
    stages["sample"] = Sample(
        model=MODEL,
        problems=PROBLEMS,
        draws=draws,
        num_problems=4,
        num_samples=3,
        precision="float32",
    )
    stages["evaluate"] = Evaluate(  # type: ignore[assignment]
        models={"one": MODEL, "two": Ref("a", "teacher")},
        problems=(PROBLEMS,),
        draws=draws,
        reward_model=REWARD,
        reference=MODEL,
        precision="float32",
    )
    for name, stage in stages.items():
        on_cpu = ran(stage, tmp_path / name, inputs, "cpu")
        with pretend_gpu():
            on_gpu = ran(stage, tmp_path / name, inputs, DEVICE)
        for output in stage.outputs:
            texts = [ctx.output(output).read_text().splitlines() for ctx in (on_cpu, on_gpu)]
            for mine, theirs in zip(*texts, strict=True):
                assert close(json.loads(mine), json.loads(theirs))


def close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    return bool(one == (pytest.approx(other, abs=1e-4) if isinstance(one, float) else other))


def test_whatever_a_stage_opens_it_opens_on_the_runs_device() -> None:
    opened = 0
    for file in Path(burnish.stages.__path__[0]).glob("*.py"):
        # A plan is made before there is a run: it is told the device.
        device = "device" if file.name == "plan_texts.py" else "ctx.device"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("TextModel.open", "open_causal_lm", "open_reward_model"):
                opened += 1
                assert device in ast.unparse(node), f"{file.name}:{node.lineno}"
    assert opened > 15
