"""Sampling of ragged completions, against transformers' `generate` and continuous batching.

    python -m bench.sampling [--prompts 64] [--shortest 16] [--longest 200]

Every prompt has a number of new tokens of its own, spread between the two, and none ends before
it: both sides draw the same number of tokens, at temperature 1 from the whole vocabulary.
`generate` samples each batch until its longest row is done, in bfloat16 and in float32. A step is
one whole pass over the prompts.
"""

import argparse
from functools import partial

import torch

from bench.duel import StepClock, Timed, arguments, duel, model_dir
from burnish.data.everyday import instructions
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.models.load import open_causal_lm
from burnish.text.chat import encode_prompt
from burnish.text.tokenizer import load_tokenizer

PAGE = 64
"""Entries of a page of keys and values in continuous batching."""
MOST_TOKENS = 2048
"""That it computes at one time."""


def prompts(given: argparse.Namespace) -> list[tuple[int, ...]]:
    """Token ids of everyday prompts."""
    tokenizer = load_tokenizer(model_dir(given))
    return [encode_prompt(p.prompt, tokenizer) for p in instructions()[: given.prompts]]


def lengths(given: argparse.Namespace) -> list[int]:
    """New tokens of each prompt, spread evenly and in no order."""
    span = given.longest - given.shortest
    spread = [given.shortest + span * i // max(given.prompts - 1, 1) for i in range(given.prompts)]
    generator = torch.Generator().manual_seed(0)
    return [spread[i] for i in torch.randperm(given.prompts, generator=generator).tolist()]


def burnish(given: argparse.Namespace) -> Timed:
    model = open_causal_lm(model_dir(given), "bfloat16", given.device)
    sampler = LocalSampler(model, max_rows=given.prompts)
    clock, wanted = StepClock(), lengths(given)
    for step in range(given.steps + given.warm_up):
        requests = [
            Request(prompt=ids, key=step * given.prompts + i, max_new_tokens=limit)
            for i, (ids, limit) in enumerate(zip(prompts(given), wanted, strict=True))
        ]
        groups = sampler.sample(requests, Sampling(max_new_tokens=given.longest))
        assert [len(group[0].tokens) for group in groups] == wanted
        clock.tick()
    return Timed(seconds=clock.seconds(given.warm_up), tokens=sum(wanted))


def generate(given: argparse.Namespace, *, dtype: str, batch: int) -> Timed:
    from transformers import AutoModelForCausalLM, StoppingCriteria

    wanted = lengths(given)

    class Limits(StoppingCriteria):  # type: ignore[misc]
        """Each row is done at its own length."""

        def __init__(self, width: int, limits: list[int]) -> None:
            self._ends = torch.tensor(limits, device=given.device) + width

        def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
            return input_ids.shape[1] >= self._ends

    model = AutoModelForCausalLM.from_pretrained(model_dir(given), dtype=dtype).eval()
    model.to(given.device)
    model.generation_config.eos_token_id = None
    found, clock = prompts(given), StepClock()
    pad = load_tokenizer(model_dir(given)).pad_token_id
    # Of like lengths together, which is the best that batches can do.
    order = sorted(range(len(found)), key=lambda i: wanted[i])
    for _ in range(given.steps + given.warm_up):
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            width = max(len(found[i]) for i in rows)
            left = [width - len(found[i]) for i in rows]
            ids = torch.tensor(
                [[pad] * n + list(found[i]) for i, n in zip(rows, left, strict=True)]
            )
            mask = torch.tensor([[0] * n + [1] * (width - n) for n in left])
            limits = [wanted[i] for i in rows]
            model.generate(
                input_ids=ids.to(given.device),
                attention_mask=mask.to(given.device),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max(limits),
                pad_token_id=pad,
                stopping_criteria=[Limits(width, limits)],
            )
        clock.tick()
    return Timed(seconds=clock.seconds(given.warm_up), tokens=sum(wanted))


def continuous(given: argparse.Namespace, *, dtype: str) -> Timed:
    """Transformers' continuous batching: a request that ends makes room for the next."""
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    found, wanted, clock = prompts(given), lengths(given), StepClock()
    model = AutoModelForCausalLM.from_pretrained(model_dir(given), dtype=dtype).eval()
    model.to(given.device)
    tokens = max(len(p) + n for p, n in zip(found, wanted, strict=True))
    manager = model.init_continuous_batching(
        GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=given.longest,
            eos_token_id=-1,
            pad_token_id=load_tokenizer(model_dir(given)).pad_token_id,
        ),
        # Room for all requests at one time; by default it fills the machine's memory.
        ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=2 * given.prompts * -(-tokens // PAGE),
            max_batch_tokens=MOST_TOKENS,
        ),
    )
    manager.start()
    for _ in range(given.steps + given.warm_up):
        for ids, limit in zip(found, wanted, strict=True):
            manager.add_request(list(ids), max_new_tokens=limit)
        for _ in found:
            answer = manager.get_result(timeout=600)
            assert answer is not None and answer.error is None, answer
        clock.tick()
    manager.stop()
    return Timed(seconds=clock.seconds(given.warm_up), tokens=sum(wanted))


SIDES = {
    "burnish": burnish,
    "generate, bf16, batch 64": partial(generate, dtype="bfloat16", batch=64),
    "generate, bf16, batch 16": partial(generate, dtype="bfloat16", batch=16),
    "generate, fp32, batch 64": partial(generate, dtype="float32", batch=64),
    "continuous batching, bf16": partial(continuous, dtype="bfloat16"),
    "continuous batching, fp32": partial(continuous, dtype="float32"),
}


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--shortest", type=int, default=16)
    parser.add_argument("--longest", type=int, default=200)
    duel("bench.sampling", SIDES, parser.parse_args())


if __name__ == "__main__":
    main()
