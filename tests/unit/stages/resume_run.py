"""Runs of every language-model training with tiny models, which kill themselves on the way.

Reads a JSON list of [run directory, kill] on standard input and writes the list of their exit
codes. Each is a process of its own, forked once everything is imported. A kill is "" (none),
"after SECONDS", or "PHASE STAGE COUNT", where PHASE is where it dies: `metrics` (before the
COUNT-th row), `tensors` (a checkpoint's tensors are written, its state is not), `renamed` (a
checkpoint is complete, the one before is still there), `saved` (a snapshot or the final weights
are written), or `term` (as `metrics`, but by SIGTERM).
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from burnish.algos.dapo import DAPO
from burnish.algos.distill import Distillation
from burnish.algos.grpo import GRPO
from burnish.algos.kto import KTO
from burnish.algos.ppo import PPO
from burnish.data.store import (
    write_comparisons,
    write_conversations,
    write_problems,
    write_texts,
)
from burnish.engine import checkpoint
from burnish.engine.optim import Optim
from burnish.engine.shaping import Shaping
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.errors import Interrupted
from burnish.metrics import MetricsWriter
from burnish.models.lora import LoRA
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.stage import Context
from burnish.stages.distill import Distill
from burnish.stages.prefer import Prefer
from burnish.stages.reward import TrainReward
from burnish.stages.rl import RL
from burnish.stages.rl_beside import Beside
from burnish.stages.rl_learner import RenewReference, Value
from burnish.stages.sample import Draws, Sample
from burnish.stages.sft import SFT
from burnish.types import Comparison, Conversation, Problem
from tests.tiny import tiny_llama, tiny_tokenizer

WORDS = ("sea", "cat", "dog", "sum", "mat", "answer", "loop", "comment", "day", "blue")


@dataclass(frozen=True, kw_only=True)
class TinyData:
    """A tiny model, and a few rows of each kind."""

    outputs: ClassVar[Mapping[str, str]] = {
        "model": "model",
        "problems": "problems",
        "conversations": "conversations",
        "comparisons": "comparisons",
        "texts": "texts",
    }

    def run(self, ctx: Context) -> None:
        tokenizer = tiny_tokenizer()
        tiny_llama(tokenizer).save_pretrained(ctx.output("model"))
        tokenizer.save_pretrained(ctx.output("model"))
        prompts = [Conversation.of(f"Write about the {word}.") for word in WORDS]
        # Several limits, so that the rubric tells even a random model's few words apart.
        limits = ", ".join(f'{{"kind": "max_words", "n": {n}}}' for n in range(1, 7))
        meta = f'{{"constraints": [{limits}]}}'
        problems = [Problem(prompt=p, task="everyday", meta=meta) for p in prompts]
        write_problems(ctx.output("problems"), problems)
        write_conversations(
            ctx.output("conversations"),
            [p.then(f"The {word} is wide.") for p, word in zip(prompts, WORDS, strict=True)],
        )
        write_texts(ctx.output("texts"), (f"The {word} and the sea. " * 9 for word in WORDS))
        write_comparisons(
            ctx.output("comparisons"),
            [
                Comparison(prompt=p, a="The sea is wide.", b=f"total {i}", winner="a", annotator="")
                for i, p in enumerate(prompts)
            ],
        )


def recipe() -> Recipe:
    """SFT, a reward model, DPO, PPO on the reward model, GRPO and more, distillation."""
    made = Recipe(name="tiny", seed=5)
    data = made.add("data", TinyData())
    optim = Optim(lr=3e-3, schedule="linear", warmup_ratio=0.2)
    passes = Passes(batch_rows=4, epochs=2.2)
    common: dict[str, Any] = {"optim": optim, "micro_tokens": 96, "checkpoint_s": 0.0}
    sft = made.add(
        "sft", SFT(model=data.model, data=(data.conversations,), passes=passes, **common)
    )
    reward = made.add(
        "reward",
        TrainReward(
            model=sft.model,
            comparisons=data.comparisons,
            problems=data.problems,
            heldout=0.4,
            passes=passes,
            precision="float32",
            **common,
        ),
    )
    made.add("dpo", Prefer(model=sft.model, comparisons=data.comparisons, passes=passes, **common))
    rl: dict[str, Any] = common | {
        "model": sft.model,
        "problems": data.problems,
        "steps": 4,
        "problems_per_step": 3,
        "group_size": 4,
        "draws": Draws(max_new_tokens=10),
        "num_snapshots": 2,
    }
    ppo = PPO(kl_coef=0.05, kl_target=0.5, kl_horizon=24, entropy_coef=0.01)
    made.add(
        "ppo",
        RL(algorithm=ppo, reward_model=reward.reward_model, epochs=2, minibatches=2, **rl),
    )
    grpo = made.add("grpo", RL(algorithm=GRPO(kl_coef=0.02), precision="float32", **rl))
    dapo = DAPO(kl_coef=0.02, kl="reward_k1")
    made.add(
        "dapo",
        RL(
            algorithm=dapo,
            dynamic_sampling=1,
            importance_cap=2.0,
            shaping=Shaping(missing_eos_penalty=0.5, overlong_buffer=4),
            **rl,
        ),
    )
    made.add(
        "kto",
        Prefer(
            model=sft.model, comparisons=data.comparisons, algorithm=KTO(), passes=passes, **common
        ),
    )
    adapted = GRPO(kl_coef=0.02)
    made.add("lora", RL(algorithm=adapted, lora=LoRA(rank=2), minibatches=2, kl_audit_rows=3, **rl))
    made.add(
        "ptx",
        RL(
            algorithm=PPO(kl_coef=0.05),
            reward_model=reward.reward_model,
            minibatches=2,
            whiten_scores=True,
            value=Value(model=reward.reward_model, optim=Optim(lr=1e-3)),
            beside=Beside(data=(data.texts,), coef=2.0, batch_rows=3, max_tokens=24),
            renew_reference=RenewReference(every=2, share=0.6),
            ema=0.7,
            **rl,
        ),
    )
    made.add(
        "sample",
        Sample(
            model=grpo.model,
            problems=data.problems,
            num_problems=4,
            num_samples=3,
            draws=Draws(max_new_tokens=8),
            precision="float32",
        ),
    )
    made.add(
        "distill",
        Distill(
            model=sft.model,
            teacher=grpo.model,
            problems=data.problems,
            data=(data.conversations,),
            algorithm=Distillation(beta=0.7, on_policy=0.6),
            steps=6,
            problems_per_step=3,
            num_samples=2,
            draws=Draws(max_new_tokens=8),
            **common,
        ),
    )
    return made


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(phase: str, stage: str, count: int) -> None:
    """Make the process kill itself at the `count`-th passage of a phase of a stage."""
    left = [count]

    def before(function: Callable[..., Any], where: Callable[..., Path], end: Callable[[], None]):
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if f"-{stage}/" in str(where(*args, **kwargs)):
                left[0] -= 1
                if left[0] == 0:
                    end()
            return function(*args, **kwargs)

        return wrapped

    def term() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    if phase in ("metrics", "term"):
        end = die if phase == "metrics" else term
        MetricsWriter.write = before(MetricsWriter.write, lambda w, *_: w.path, end)  # type: ignore[method-assign]
    elif phase == "tensors":
        checkpoint._sha256 = before(checkpoint._sha256, lambda path: path, die)
    elif phase == "renamed":
        replace = os.replace

        def renamed(source: Path, target: Path) -> None:
            replace(source, target)
            left[0] -= f"-{stage}/checkpoints/step-" in str(target)
            if left[0] == 0:
                die()

        os.replace = renamed  # type: ignore[assignment]
    else:
        save = TextModel.save

        def saved(self: TextModel, out: Path, **kwargs: Any) -> None:
            save(self, out, **kwargs)
            left[0] -= f"-{stage}/" in str(out)
            if left[0] == 0:
                die()

        TextModel.save = saved  # type: ignore[method-assign]


def session(run_dir: str, kill: str) -> int:
    """The exit code of one process that works on a run until it ends or kills itself."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        phase, *rest = kill.split() or [""]
        if phase == "after":
            timer = threading.Timer(float(rest[0]), die)
            timer.daemon = True
            timer.start()
        elif phase:
            arm(phase, rest[0], int(rest[1]))
        execute(recipe(), Path(run_dir), cache=Path(run_dir) / "cache")
        code = 0
    except Interrupted as error:
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([session(run_dir, kill) for run_dir, kill in json.load(sys.stdin)]))
