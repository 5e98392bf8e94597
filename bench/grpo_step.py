"""One GRPO step, sampling included, against TRL's GRPOTrainer.

    python -m bench.grpo_step [--new-tokens 32] [--prompts 8] [--group 8]

Both sides sample completions of the same everyday prompts, score them with the same rubric (a
grade, so that hardly any group is without signal), and take one optimiser step with a learning
rate of 1e-6, no KL penalty and no gradient checkpointing. Tokens are those sampled.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench.duel import StepClock, Timed, arguments, duel, model_dir
from bench.watch import watched
from burnish.algos.grpo import GRPO
from burnish.data.everyday import instructions
from burnish.data.store import write_problems
from burnish.engine.optim import Optim
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Ref
from burnish.stages.rl import RL
from burnish.stages.sample import Draws
from burnish.text.tokenizer import load_tokenizer
from burnish.types import Problem, mean
from burnish.verifiers.verify import verify_problem


def problems(given: argparse.Namespace) -> list[Problem]:
    """Those of all steps."""
    return instructions()[: given.prompts * (given.steps + given.warm_up)]


def burnish(given: argparse.Namespace) -> Timed:
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "problems.jsonl"
        write_problems(data, problems(given))
        stage = RL(
            model=Ref("a", "model"),
            problems=Ref("a", "problems"),
            algorithm=GRPO(),
            optim=Optim(lr=1e-6, schedule="constant"),
            steps=given.steps + given.warm_up,
            problems_per_step=given.prompts,
            group_size=given.group,
            draws=Draws(max_new_tokens=given.new_tokens),
            micro_tokens=given.micro_tokens,
        )
        inputs = {"a.model": model_dir(given), "a.problems": data}
        ctx = watched(Path(folder), stage, inputs, clock, given.device)
        stage.run(ctx)
        found = list(read_metrics(ctx.metrics.path))[given.warm_up :]
    tokens = mean([row["rl/sampled_tokens"] for row in found])
    return Timed(seconds=clock.seconds(given.warm_up), tokens=tokens)


def trl(given: argparse.Namespace, *, bf16: bool) -> Timed:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    from bench.watch import Ticks

    clock = StepClock()
    by_prompt = {p.prompt.last_user: p for p in problems(given)}
    lengths: list[int] = []

    def reward(
        prompts: list[Any], completions: list[Any], completion_ids: list[Any], **_: Any
    ) -> list[float | None]:
        lengths.append(sum(len(ids) for ids in completion_ids))
        return [
            verify_problem(by_prompt[p[-1]["content"]], c[-1]["content"]).score
            for p, c in zip(prompts, completions, strict=True)
        ]

    data = Dataset.from_list([{"prompt": p.prompt.to_json()["messages"]} for p in problems(given)])
    size = given.prompts * given.group
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            use_cpu=given.device == "cpu",
            bf16=bf16,
            gradient_checkpointing=False,
            per_device_train_batch_size=size // given.parts,
            gradient_accumulation_steps=given.parts,
            num_generations=given.group,
            max_completion_length=given.new_tokens,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            max_steps=given.steps + given.warm_up,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            shuffle_dataset=False,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_dir(given), dtype="float32"),
            reward_funcs=reward,
            args=config,
            train_dataset=data,
            processing_class=load_tokenizer(model_dir(given)),
            callbacks=[Ticks(clock)],
        )
        trainer.train()
    tokens = mean([float(n) for n in lengths[given.warm_up :]])
    return Timed(seconds=clock.seconds(given.warm_up), tokens=tokens)


SIDES = {
    "burnish": burnish,
    "trl, bf16": partial(trl, bf16=True),
    "trl, fp32": partial(trl, bf16=False),
}


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8, help="completions a prompt")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--micro-tokens", type=int, default=2048, help="ours")
    parser.add_argument("--parts", type=int, default=1, help="micro-batches of TRL's step")
    duel("bench.grpo_step", SIDES, parser.parse_args())


if __name__ == "__main__":
    main()
