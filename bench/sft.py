"""SFT on ragged human-written data, against TRL's SFTTrainer at each of its packing options.

    python -m bench.sft --data demonstrations.jsonl [--rows 32] [--steps 3] [--rounds 3]

Every side trains the same conversations in the same steps, prompts included, answers scored. TRL
runs without gradient checkpointing, in bfloat16 and in float32. Tokens are those of the
conversations, without padding.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from bench.duel import StepClock, Timed, arguments, duel, model_dir
from bench.watch import watched
from burnish.data.everyday import demonstrations
from burnish.data.load import load_conversations
from burnish.data.store import write_conversations
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.pipeline.artifact import Ref
from burnish.stages.sft import SFT
from burnish.text.chat import encode
from burnish.text.tokenizer import load_tokenizer
from burnish.types import Conversation

MOST_TOKENS = 1024


def rows(given: argparse.Namespace) -> list[Conversation]:
    """The conversations of all steps, warm-up included, none over the limit."""
    found = load_conversations(given.data)[0] if given.data else demonstrations()
    tokenizer = load_tokenizer(model_dir(given))
    short = [c for c in found if len(encode(c, tokenizer, "assistant").ids) <= MOST_TOKENS]
    wanted = given.rows * (given.steps + given.warm_up)
    if len(short) < wanted:
        raise SystemExit(f"{len(short)} rows, {wanted} needed: lower --rows or --steps")
    return short[:wanted]


def tokens_a_row(given: argparse.Namespace) -> float:
    """Of a conversation in the mean, without padding."""
    tokenizer = load_tokenizer(model_dir(given))
    found = rows(given)
    return sum(len(encode(c, tokenizer, "assistant").ids) for c in found) / len(found)


def burnish(given: argparse.Namespace) -> Timed:
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        write_conversations(data, rows(given))
        stage = SFT(
            model=Ref("a", "model"),
            data=(Ref("a", "data"),),
            passes=Passes(batch_rows=given.rows, epochs=1),
            optim=Optim(lr=1e-5),
            micro_tokens=given.micro_tokens,
        )
        inputs = {"a.model": model_dir(given), "a.data": data}
        stage.run(watched(Path(folder), stage, inputs, clock, given.device))
    tokens = given.rows * tokens_a_row(given)
    return Timed(seconds=clock.seconds(given.warm_up), tokens=tokens)


def trl(given: argparse.Namespace, *, bf16: bool, packing: str | None) -> Timed:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from bench.watch import Ticks

    clock = StepClock()
    found = rows(given)
    data = Dataset.from_list(
        [
            {
                "prompt": c.to_json()["messages"][:-1],  # type: ignore[index,call-overload]
                "completion": c.to_json()["messages"][-1:],  # type: ignore[index,call-overload]
            }
            for c in found
        ]
    )
    if packing is None:
        sequences, micro = given.rows, given.micro_rows
    else:  # as many packed ones as hold about the same tokens
        micro = given.micro_packed
        parts = round(given.rows * tokens_a_row(given) / MOST_TOKENS / micro)
        sequences = micro * max(parts, 1)
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            use_cpu=given.device == "cpu",
            bf16=bf16,
            gradient_checkpointing=False,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=sequences // micro,
            max_length=MOST_TOKENS,
            packing=packing is not None,
            packing_strategy=packing or "bfd",
            max_steps=given.steps + given.warm_up,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_dir(given), dtype="float32"),
            args=config,
            train_dataset=data,
            processing_class=load_tokenizer(model_dir(given)),
            callbacks=[Ticks(clock)],
        )
        trainer.train()
        lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    tokens = sequences * sum(lengths) / len(lengths)
    return Timed(seconds=clock.seconds(given.warm_up), tokens=tokens)


SIDES = {
    "burnish": burnish,
    "trl, bf16": partial(trl, bf16=True, packing=None),
    "trl, bf16, packed (bfd)": partial(trl, bf16=True, packing="bfd"),
    "trl, bf16, packed (wrapped)": partial(trl, bf16=True, packing="wrapped"),
    "trl, fp32": partial(trl, bf16=False, packing=None),
    "trl, fp32, packed (bfd)": partial(trl, bf16=False, packing="bfd"),
}


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--data", help="a file of conversations; the packaged demonstrations")
    parser.add_argument("--rows", type=int, default=16, help="conversations a step")
    parser.add_argument("--micro-tokens", type=int, default=2048, help="ours")
    parser.add_argument("--micro-rows", type=int, default=4, help="TRL's, without packing")
    parser.add_argument("--micro-packed", type=int, default=1, help="TRL's, packed")
    duel("bench.sft", SIDES, parser.parse_args())


if __name__ == "__main__":
    main()
