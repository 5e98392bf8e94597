"""What a GPU makes of sampling, SFT and GRPO, against transformers and TRL.

    python -m bench.gpu [--model smollm2 | qwen3-0.6b | qwen3-1.7b | llama-8b | DIRECTORY]

Sampling is `bench.sampling` at 64 rows. SFT is `bench.sft` on joined demonstrations, and its matrix
products a second are also given as a share of what the device reaches in bfloat16. GRPO is
`bench.grpo_step`. The named shapes have random weights and SmolLM2's tokenizer: no group of theirs
carries a signal, so they are not trained by GRPO, and the largest is only sampled from (AdamW needs
18 bytes a weight).
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import grpo_step, sampling, sft
from bench.duel import Side, arguments, duel, model_dir
from burnish.bench.flops import Shape, attended
from burnish.cli.terminal import cache_dir
from burnish.data.everyday import demonstrations
from burnish.data.store import write_conversations
from burnish.models.get import locate
from burnish.models.load import copy_tokenizer
from burnish.text.chat import encode
from burnish.text.tokenizer import load_tokenizer
from burnish.types import Conversation

TOKENIZER = "smollm2"
_QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": _QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072},
    "qwen3-1.7b": _QWEN3 | {"hidden_size": 2048, "intermediate_size": 6144},
    "llama-8b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
}
"""Of Qwen 3 and Llama 3.1, but for their rotary frequencies and longest documents."""
SAMPLED_ONLY = frozenset({"llama-8b"})
SQUARES = (4096, 8192, 16384)
"""Sides of the products that the device's rate is taken from."""
PRODUCTS = 20
JOINED = 16
"""Demonstrations in the longest document of SFT; every number from 1 on is as frequent."""
SAMPLING: dict[str, Side] = {
    "sampling, burnish": sampling.burnish,
    "sampling, generate": partial(sampling.generate, dtype="bfloat16", batch=64),
}
SFT: dict[str, Side] = {
    "SFT, burnish": sft.burnish,
    "SFT, trl, packed (bfd)": partial(sft.trl, bf16=True, packing="bfd"),
}
GRPO: dict[str, Side] = {
    "GRPO, burnish": grpo_step.burnish,
    "GRPO, trl": partial(grpo_step.trl, bf16=True),
}


def write_random(shape: dict[str, Any], folder: Path, device: str) -> None:
    """A model of a shape with random weights, and a tokenizer beside it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**shape)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    copy_tokenizer(locate(TOKENIZER, cache_dir()), folder)
    model.save_pretrained(folder)


def write_documents(path: Path, num: int) -> None:
    """Conversations of one turn, each a few demonstrations joined."""
    found, rows = demonstrations(), []
    for i in range(num):
        parts = [found[(i * JOINED + j) % len(found)] for j in range(1 + i * 7 % JOINED)]
        prompt = Conversation.of("\n\n".join(part.last_user for part in parts))
        rows.append(prompt.then("\n\n".join(part.messages[-1].content for part in parts)))
    write_conversations(path, rows)


def product_rate() -> float:
    """Operations a second of the fastest square product in bfloat16."""
    found = []
    for side in SQUARES:
        one, other = (torch.randn(side, side, device="cuda").bfloat16() for _ in range(2))
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        for _ in range(PRODUCTS):
            one @ other  # the device reaches its pace
        ends[0].record()
        for _ in range(PRODUCTS):
            one @ other
        ends[1].record()
        torch.cuda.synchronize()
        found.append(PRODUCTS * 2 * side**3 / (ends[0].elapsed_time(ends[1]) / 1000))
    return max(found)


def sft_flops(given: argparse.Namespace) -> float:
    """Of the matrix products of a step, in the mean."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(model_dir(given))
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    shape, tokenizer = Shape.of(model), load_tokenizer(model_dir(given))
    encoded = [encode(row, tokenizer, "assistant") for row in sft.rows(given)]
    whole = shape.training_flops(
        tokens=sum(len(e.ids) for e in encoded),
        predicting=sum(sum(e.mask) for e in encoded),
        attended=sum(attended(0, [len(e.ids)]) for e in encoded),
    )
    return whole / (given.steps + given.warm_up)


def compare(given: argparse.Namespace, name: str, folder: Path) -> None:
    """Print every comparison that the model of this name is fit for."""
    run: Callable[..., Any] = partial(duel, "bench.gpu")
    given.prompts = 64
    run(SAMPLING, given)
    if name in SAMPLED_ONLY:
        return
    given.data = str(folder / "documents.jsonl")
    # A few are over the limit of `bench.sft`, which leaves them out.
    write_documents(Path(given.data), 2 * given.rows * (given.steps + given.warm_up))
    rate = product_rate()
    torch.cuda.empty_cache()  # the sides are processes of their own
    rounds = run(SFT, given)
    for side in SFT:
        seconds = statistics.median(statistics.median(r[side].seconds) for r in rounds)
        # Both sides' tokens count once: packing cuts a few of them, so per token.
        tokens = given.rows * sft.tokens_a_row(given)
        done = sft_flops(given) * rounds[0][side].tokens / tokens / seconds
        print(f"{side}: {done / 1e12:.0f} TFLOP/s, {done / rate:.0%} of {rate / 1e12:.0f}")
    if name not in SHAPES:
        given.prompts = 16
        run(GRPO, given)


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.set_defaults(device="cuda")
    parser.add_argument("--prompts", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shortest", type=int, default=64, help="sampling: new tokens")
    parser.add_argument("--longest", type=int, default=512, help="sampling: new tokens")
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=64, help="SFT: conversations a step")
    parser.add_argument("--micro-packed", type=int, default=8, help="SFT: TRL's, of 1024 tokens")
    parser.add_argument("--group", type=int, default=8, help="GRPO: completions a prompt")
    parser.add_argument("--new-tokens", type=int, default=128, help="GRPO: at most")
    parser.add_argument("--parts", type=int, default=1, help="GRPO: micro-batches of TRL's step")
    parser.add_argument("--micro-tokens", type=int, default=16384, help="ours, in training")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("bench.gpu: torch can use no GPU here; the other scripts time the CPU")
    if given.side:
        duel("bench.gpu", SAMPLING | SFT | GRPO, given)
        return
    name = given.model
    with tempfile.TemporaryDirectory() as folder:
        if name in SHAPES:
            write_random(SHAPES[name], Path(folder), given.device)
            torch.cuda.empty_cache()
            given.model = folder
        compare(given, name, Path(folder))


if __name__ == "__main__":
    main()
