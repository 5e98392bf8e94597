"""How cost grows with the length of prompts, the size of groups and batches, and the model.

    python -m bench.scaling [--only prompts] [--out docs/images]

Random weights in SmolLM2's architecture, random tokens and no stop token, in bfloat16: what is
said does not change what it costs. Each figure prints its numbers (median and range) and is written
to performance-NAME.svg. All of them take less than ten minutes on two cores with AMX.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import logging

from bench.plot import Line, Panel, draw, show
from burnish.bench.flops import body_matrices
from burnish.bench.machine import Machine, layer_products, product_rate, read_rate, squares
from burnish.bench.sampling import random_rows, time_decoding
from burnish.bench.spread import Spread, timed
from burnish.bench.training import OPTIM, WARM_UP, TimedTrainer, timed_steps
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.models.load import open_causal_lm
from burnish.models.policy import Tree

Result = TypeVar("Result")

SAMPLING_REPEATS, STEP_REPEATS = 3, 2
NEW_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a model; heads have 64 numbers, as in all of SmolLM2."""

    layers: int
    heads: int
    kv_heads: int
    mlp: int


SIZES = {
    "31M": Size(layers=8, heads=6, kv_heads=2, mlp=1024),
    "135M": Size(layers=30, heads=9, kv_heads=3, mlp=1536),
    "362M": Size(layers=32, heads=15, kv_heads=5, mlp=2560),
}
"""The last two are SmolLM2-135M's and SmolLM2-360M's (2502.02737); the first is ours."""


class Subject:
    """A model with random weights, opened as any model is, that is sampled from and trained."""

    def __init__(self, size: Size) -> None:
        config = LlamaConfig(
            vocab_size=49152,
            hidden_size=64 * size.heads,
            intermediate_size=size.mlp,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.kv_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
        )
        torch.manual_seed(0)
        logging.disable_progress_bar()
        with tempfile.TemporaryDirectory() as folder:
            fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
            fresh.save_pretrained(folder)
            del fresh
            self.model = open_causal_lm(Path(folder), "bfloat16")
        self._trainer = TimedTrainer(self.model, OPTIM, num_steps=1000)
        self._warm_up = WARM_UP

    def sampling_s(self, prompts: int, length: int, group: int, new: int) -> Spread:
        """Seconds to read prompts and to sample `group` completions of each."""
        sampler = LocalSampler(self.model, max_rows=prompts * group)
        requests = [
            Request(prompt=row, key=i, num=group)
            for i, row in enumerate(random_rows(self.model, prompts, length))
        ]
        return timed(
            lambda: sampler.sample(requests, Sampling(max_new_tokens=new)), SAMPLING_REPEATS
        )

    def step_s(self, trees: Sequence[Tree]) -> tuple[Spread, Spread]:
        """Seconds of an optimiser step, and of its gradients alone."""
        gradients, optimiser = timed_steps(
            self._trainer, trees, warm_up=self._warm_up, repeats=STEP_REPEATS
        )
        self._warm_up = 1
        whole = [a + b for a, b in zip(gradients, optimiser, strict=True)]
        return Spread.of(whole), Spread.of(gradients)

    def groups(self, prompts: int, length: int, group: int) -> list[Tree]:
        """Prompts with completions of which every token is trained."""
        return [
            Tree.prompt(row, random_rows(self.model, group, NEW_TOKENS))
            for row in random_rows(self.model, prompts, length)
        ]

    def documents(self, num: int, length: int) -> list[Tree]:
        """Documents of which every token is trained."""
        mask = [False] + [True] * (length - 1)
        return [Tree.document(row, mask) for row in random_rows(self.model, num, length)]


@cache
def subject(name: str = "135M") -> Subject:
    """Opened once."""
    return Subject(SIZES[name])


def falling(places: Sequence[int], measure: Callable[[int], Result]) -> list[Result]:
    """From the last place, which takes the most memory, to the first: later ones ask for none."""
    return [measure(place) for place in reversed(places)][::-1]


def prompts() -> list[Panel]:
    """The length of prompts, whose completions share them."""
    num, group, lengths = 2, 8, (32, 64, 128, 256, 512, 1024)
    found = subject()
    sampled = falling(lengths, lambda n: found.sampling_s(num, n, group, NEW_TOKENS))
    trained = falling(lengths, lambda n: found.step_s(found.groups(num, n, group))[0])
    what = f"{num} prompts x {group} completions x {NEW_TOKENS} tokens"
    axis: dict[str, Any] = {
        "x": "tokens of a prompt",
        "y": "seconds",
        "places": lengths,
        "linear": True,
    }
    return [
        Panel(title=f"Sampling {what}", lines=[Line(name="sampling", values=sampled)], **axis),
        Panel(title="A training step on them", lines=[Line(name="step", values=trained)], **axis),
    ]


def groups() -> list[Panel]:
    """Completions of each prompt, where their number in all stays the same."""
    total, length, sizes = 32, 128, (1, 2, 4, 8, 16, 32)
    found = subject()
    sampled = [found.sampling_s(total // g, length, g, NEW_TOKENS) for g in sizes]
    trained = [found.step_s(found.groups(total // g, length, g))[0] for g in sizes]
    what = f"{total} completions of {NEW_TOKENS} tokens, prompts of {length}"
    axis: dict[str, Any] = {"x": "completions of each prompt", "y": "seconds", "places": sizes}
    return [
        Panel(title=f"Sampling {what}", lines=[Line(name="sampling", values=sampled)], **axis),
        Panel(title="A training step on them", lines=[Line(name="step", values=trained)], **axis),
    ]


def rows() -> list[Panel]:
    """Rows decoded at one time, beside the machine's limits."""
    counts = (1, 2, 4, 8, 16, 32, 64, 128)
    model = subject().model
    done = [time_decoding(model, rows=n, prompt_tokens=128, new_tokens=24) for n in counts]
    flops_per_s, bytes_per_s = limits(model)
    compute = [Spread.of([d.rows * flops_per_s / d.flops_per_step]) for d in done]
    memory = [Spread.of([d.rows * bytes_per_s / d.bytes_per_step]) for d in done]
    axis: dict[str, Any] = {"x": "rows decoded at one time", "places": counts}
    speed = [
        Line(name="Burnish", values=[d.tokens_per_s for d in done]),
        Line(name="limit of products", values=compute, limit=True),
        Line(name="limit of memory", values=memory, limit=True),
    ]
    steps = [d.tokens_per_s.per(1000 * d.rows) for d in done]
    return [
        Panel(title="Decoding, prompt of 128", y="tokens/s", lines=speed, log=True, **axis),
        Panel(
            title="A decoding step",
            y="ms",
            lines=[Line(name="step", values=steps)],
            linear=True,
            **axis,
        ),
    ]


def limits(model: nn.Module) -> tuple[float, float]:
    """The best bfloat16 rate of products, and that of reading memory."""
    shapes = squares() + layer_products(body_matrices(model))
    products = product_rate(torch.bfloat16, shapes)
    return products.flops_per_s.median, read_rate().median


def tokens() -> list[Panel]:
    """Tokens of an optimiser step."""
    length, counts = 128, (128, 256, 512, 1024, 2048, 4096)
    found = subject()
    steps = falling(counts, lambda n: found.step_s(found.documents(n // length, length)))
    lines = [
        Line(name=name, values=[s[i].per(n) for s, n in zip(steps, counts, strict=True)])
        for i, name in enumerate(("whole step", "forwards and backwards"))
    ]
    title = f"Training on documents of {length} tokens"
    axis: dict[str, Any] = {"x": "tokens of a step", "y": "tokens/s"}
    return [Panel(title=title, places=counts, lines=lines, **axis)]


def documents() -> list[Panel]:
    """The length of documents, where their tokens in all stay the same."""
    total, lengths = 2048, (32, 64, 128, 256, 512, 1024, 2048)
    found = subject()
    read = [found.sampling_s(total // n, n, 1, 1).per(total) for n in lengths]
    trained = [found.step_s(found.documents(total // n, n))[0].per(total) for n in lengths]
    axis: dict[str, Any] = {"x": "tokens of a document", "y": "tokens/s", "places": lengths}
    return [
        Panel(
            title=f"Reading {total} tokens of prompts",
            lines=[Line(name="prefill", values=read)],
            **axis,
        ),
        Panel(
            title=f"A training step on {total} tokens",
            lines=[Line(name="training", values=trained)],
            **axis,
        ),
    ]


def sizes() -> list[Panel]:
    """The model's parameters."""
    places: list[float] = []
    decoded: dict[int, list[Spread]] = {1: [], 16: [], 64: []}
    read: list[Spread] = []
    trained: list[Spread] = []
    for size in SIZES.values():
        found = Subject(size)
        places.append(round(sum(p.numel() for p in found.model.parameters()) / 1e6))
        for count, into in decoded.items():
            done = time_decoding(found.model, rows=count, prompt_tokens=128, new_tokens=16)
            into.append(done.tokens_per_s)
        read.append(found.sampling_s(4, 512, 1, 1).per(2048))
        trained.append(found.step_s(found.documents(4, 512))[0].per(2048))
        del found
    axis: dict[str, Any] = {
        "x": "million parameters",
        "y": "tokens/s",
        "places": places,
        "log": True,
    }
    decoding = [
        Line(name=f"{n} row{'s' * (n > 1)}", values=values) for n, values in decoded.items()
    ]
    whole = [Line(name="prefill", values=read), Line(name="training", values=trained)]
    return [
        Panel(title="Decoding, prompt of 128", lines=decoding, **axis),
        Panel(title="4 documents of 512 tokens", lines=whole, **axis),
    ]


FIGURES: dict[str, Callable[[], list[Panel]]] = {
    figure.__name__: figure for figure in (prompts, groups, rows, tokens, documents, sizes)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=FIGURES, help="repeatable; all")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    here = Machine.here()
    print(f"{here.cpu}, {here.cores} cores, {here.threads} threads, torch {here.torch}")
    for name in given.only or FIGURES:
        started = time.perf_counter()
        panels = FIGURES[name]()
        show(name, panels)
        draw(panels, given.out / f"performance-{name}.svg")
        print(f"{name} took {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
