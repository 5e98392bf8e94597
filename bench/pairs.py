"""DPO and reward models on ragged pairs that share prompts, against TRL.

    python -m bench.pairs --work dpo [--prompts 8] [--pairs 2]
    python -m bench.pairs --work reward

The pairs are answers of the model itself to everyday prompts, two pairs a prompt over three or four
distinct answers. Both sides train the same pairs in the same steps, without gradient checkpointing;
TRL's DPO computes its reference log-probabilities beforehand, as ours does. Tokens are those of
prompts and answers as TRL reads them, each prompt once for each answer.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench.duel import StepClock, Timed, arguments, duel, model_dir
from bench.watch import watched
from burnish.algos.dpo import DPO
from burnish.data.everyday import instructions
from burnish.data.store import read_pairs, write_pairs
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.pipeline.artifact import Ref
from burnish.stages.prefer import Prefer
from burnish.stages.reward import TrainReward
from burnish.stages.sample import Draws, draw_samples
from burnish.text.chat import encode
from burnish.text.tokenizer import load_tokenizer
from burnish.types import PreferencePair


def written(given: argparse.Namespace, path: Path) -> None:
    """Sample the answers once, for all sides; which of two is better is of no matter here."""
    text = TextModel.open(model_dir(given), "bfloat16", given.device)
    problems = instructions()[: given.prompts * (given.steps + given.warm_up)]
    num = given.pairs + 2
    rows, _ = draw_samples(
        text,
        problems,
        Draws(max_new_tokens=given.new_tokens),
        num=num,
        max_rows=128,
        seed=0,
        on_done=lambda done, tokens: None,
    )
    pairs = []
    for first in range(0, len(rows), num):
        answers = list(dict.fromkeys(r.text.strip() or "Yes." for r in rows[first : first + num]))
        answers += ["Yes.", "No."][: max(2 - len(answers), 0)]
        pairs += [
            PreferencePair(
                prompt=rows[first].problem.prompt,
                chosen=answers[0],
                rejected=answers[1 + i % (len(answers) - 1)],
            )
            for i in range(given.pairs)
        ]
    write_pairs(path, pairs)


def tokens_a_step(given: argparse.Namespace) -> float:
    """As TRL reads them, without padding."""
    tokenizer = load_tokenizer(model_dir(given))
    sides = [(p.prompt, t) for p in read_pairs(given.data) for t in (p.chosen, p.rejected)]
    total = sum(len(encode(prompt.then(t), tokenizer, "last").ids) for prompt, t in sides)
    return total / (given.steps + given.warm_up)


def burnish(given: argparse.Namespace) -> Timed:
    clock = StepClock()
    common: dict[str, Any] = {
        "model": Ref("a", "model"),
        "comparisons": Ref("a", "pairs"),
        "optim": Optim(lr=1e-6),
    }
    steps = given.steps + given.warm_up
    stage: Prefer | TrainReward
    if given.work == "dpo":
        passes = Passes(batch_rows=given.prompts, max_steps=steps)
        stage = Prefer(algorithm=DPO(), passes=passes, **common)
    else:
        passes = Passes(batch_rows=given.prompts, max_steps=steps, epochs=2)
        stage = TrainReward(passes=passes, heldout=0.1, **common)
    inputs = {"a.model": model_dir(given), "a.pairs": given.data}
    with tempfile.TemporaryDirectory() as folder:
        stage.run(watched(Path(folder), stage, inputs, clock, given.device))
    return Timed(seconds=clock.seconds(given.warm_up), tokens=tokens_a_step(given))


def trl(given: argparse.Namespace, *, bf16: bool) -> Timed:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    from bench.watch import Ticks

    clock = StepClock()
    data = Dataset.from_list(
        [
            {
                "prompt": p.prompt.to_json()["messages"],
                "chosen": [{"role": "assistant", "content": p.chosen}],
                "rejected": [{"role": "assistant", "content": p.rejected}],
            }
            for p in read_pairs(given.data)
        ]
    )
    rows = given.prompts * given.pairs
    with tempfile.TemporaryDirectory() as folder:
        knobs: dict[str, Any] = {
            "output_dir": folder,
            "use_cpu": given.device == "cpu",
            "bf16": bf16,
            "gradient_checkpointing": False,
            "per_device_train_batch_size": given.micro_rows,
            "gradient_accumulation_steps": rows // given.micro_rows,
            "max_steps": given.steps + given.warm_up,
            "max_length": 1024,
            "report_to": "none",
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
        }
        tokenizer = load_tokenizer(model_dir(given))
        trainer: Any
        if given.work == "dpo":
            trainer = DPOTrainer(
                model=AutoModelForCausalLM.from_pretrained(model_dir(given), dtype="float32"),
                args=DPOConfig(precompute_ref_log_probs=True, **knobs),
                train_dataset=data,
                processing_class=tokenizer,
                callbacks=[Ticks(clock)],
            )
        else:
            model = AutoModelForSequenceClassification.from_pretrained(
                model_dir(given), num_labels=1, dtype="float32"
            )
            model.config.pad_token_id = tokenizer.pad_token_id
            trainer = RewardTrainer(
                model=model,
                args=RewardConfig(**knobs),
                train_dataset=data,
                processing_class=tokenizer,
                callbacks=[Ticks(clock)],
            )
        trainer.train()
    return Timed(seconds=clock.seconds(given.warm_up), tokens=tokens_a_step(given))


SIDES = {
    "burnish": burnish,
    "trl, bf16": partial(trl, bf16=True),
    "trl, fp32": partial(trl, bf16=False),
}


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--work", choices=["dpo", "reward"], default="dpo")
    parser.add_argument("--prompts", type=int, default=8, help="prompts a step")
    parser.add_argument("--pairs", type=int, default=2, help="pairs a prompt")
    parser.add_argument("--new-tokens", type=int, default=96)
    parser.add_argument("--micro-rows", type=int, default=4, help="TRL's, in pairs")
    parser.add_argument("--data", type=Path, help="pairs to train on; sampled where not given")
    given = parser.parse_args()
    if given.data is not None:
        duel("bench.pairs", SIDES, given)
        return
    with tempfile.TemporaryDirectory() as folder:
        given.data = Path(folder) / "pairs.jsonl"
        written(given, given.data)
        duel("bench.pairs", SIDES, given)


if __name__ == "__main__":
    main()
