"""Sampling as every stage does it, timed: reading prompts, and decoding."""

import time
from dataclasses import dataclass

from torch import nn

from burnish import rng
from burnish.bench.flops import Shape, attended
from burnish.bench.spread import Spread, timed
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.models.policy import head_weight

REPEATS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefill:
    """Prompts that are read, each by itself."""

    prompts: int
    prompt_tokens: int
    tokens_per_s: Spread
    flops_per_token: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """Completions of one prompt that grow by a token a step, all at one time."""

    rows: int
    prompt_tokens: int
    new_tokens: int
    tokens_per_s: Spread
    flops_per_step: float
    bytes_per_step: float
    """Weights, and the keys and values of every row."""


def random_rows(model: nn.Module, num: int, length: int) -> list[tuple[int, ...]]:
    """Token ids drawn from the whole vocabulary: what they say does not change what they cost."""
    vocabulary = head_weight(model).shape[0]
    draws = rng.stream(0, "bench", num, length).integers(0, vocabulary, (num, length))
    return [tuple(row) for row in draws.tolist()]


def time_prefill(model: nn.Module, *, prompts: int, prompt_tokens: int) -> Prefill:
    """Read prompts and draw one token for each."""
    sampler = LocalSampler(model, max_rows=prompts)
    rows = random_rows(model, prompts, prompt_tokens)
    requests = [Request(prompt=row, key=i) for i, row in enumerate(rows)]
    spread = timed(lambda: sampler.sample(requests, Sampling(max_new_tokens=1)), REPEATS)
    flops = Shape.of(model).forward_flops(
        tokens=prompt_tokens, predicting=1, attended=attended(0, [prompt_tokens])
    )
    return Prefill(
        prompts=prompts,
        prompt_tokens=prompt_tokens,
        tokens_per_s=spread.per(prompts * prompt_tokens),
        flops_per_token=flops / prompt_tokens,
    )


def time_decoding(model: nn.Module, *, rows: int, prompt_tokens: int, new_tokens: int) -> Decoding:
    """Sample `rows` completions of `new_tokens` (at least 3) of one prompt; only steps that do
    nothing but decode are timed."""
    sampler = LocalSampler(model, max_rows=rows)
    (prompt,) = random_rows(model, 1, prompt_tokens)
    request = Request(prompt=prompt, key=0, num=rows)

    def tokens_per_s(limit: int) -> float:
        marks: list[tuple[int, float]] = []
        sampler.sample(
            [request],
            Sampling(max_new_tokens=limit),
            on_done=lambda _, tokens: marks.append((tokens, time.perf_counter())),
        )
        (before, started), (after, ended) = marks[0], marks[-1]
        return (after - before) / (ended - started)

    tokens_per_s(3)  # warms up
    shape, weight = Shape.of(model), head_weight(model)
    entries = rows * (prompt_tokens + new_tokens // 2)
    return Decoding(
        rows=rows,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        tokens_per_s=Spread.of([tokens_per_s(new_tokens) for _ in range(REPEATS)]),
        flops_per_step=shape.forward_flops(tokens=rows, predicting=rows, attended=entries),
        bytes_per_step=(shape.matrices + shape.kv_elements(entries)) * weight.element_size(),
    )
