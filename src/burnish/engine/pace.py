"""How many tokens a second this machine samples, trains on and scores with a given model.

Measured with the real model and code, because matrix products alone say little about it: on a
processor with matrix units, most of a step is spent beside them.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from burnish import rng
from burnish.algos.batch import Loss
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Request, Sampling
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Trainer
from burnish.models.load import Precision
from burnish.models.policy import Forest, Tree, head_weight, score_trees
from burnish.pipeline.budget import Speeds
from burnish.pipeline.peak import hand_back_freed_memory

PROMPT, COMPLETION = 45, 35
"""Tokens of the rows that are trained on: the size of short chat turns."""
FEW_TRAINED, MANY_TRAINED = 3, 16
FEW_ROWS, MANY_ROWS = 8, 96
SAMPLE_TOKENS = 9


def measure_pace(path: Path, device: str = "cpu", *, precision: Precision = "bfloat16") -> Speeds:
    """Open the model and time scoring, optimiser steps and short rounds of sampling.

    Two sizes of each tell what is spent by the token from what is spent by the step.
    """
    opened = _best(lambda: TextModel.open(path, precision, device))
    text = TextModel.open(path, precision, device)
    vocabulary = head_weight(text.model).shape[0]
    draws = rng.stream(0, "pace").integers(0, vocabulary, (MANY_ROWS, PROMPT + COMPLETION))
    rows = [tuple(int(t) for t in row) for row in draws]
    few, many = (
        Forest.of(
            [Tree.prompt(row[:PROMPT], [row[PROMPT:]]) for row in rows[:number]],
            head_weight(text.model).device,
        )
        for number in (FEW_TRAINED, MANY_TRAINED)
    )

    def score() -> None:
        with torch.no_grad():
            score_trees(text.model, many)[0].cpu()  # waits for a GPU to have done it

    def decode_step(num: int) -> float:
        sampler = LocalSampler(text.model, max_rows=num)
        prompts = [Request(prompt=rows[0][:PROMPT], key=0, num=num)]

        def sample(max_new_tokens: int) -> None:
            sampler.sample(prompts, Sampling(max_new_tokens=max_new_tokens))

        first, whole = _best(lambda: sample(1)), _best(lambda: sample(SAMPLE_TOKENS))
        return max(whole - first, 1e-9) / (SAMPLE_TOKENS - 1)

    scored = _best(score)
    sampled, decode_s = _line(
        (FEW_ROWS, decode_step(FEW_ROWS)), (MANY_ROWS, decode_step(MANY_ROWS))
    )
    trainer = Trainer(text.model, Optim(lr=1e-9), num_steps=2)
    short, long = (_timed_step(trainer, forest) for forest in (few, many))
    trained, step_s = _line(short, long)
    del trainer
    first = _first_step(text.model, many)
    return Speeds(
        sampled=sampled,
        trained=trained,
        scored=many.tokens.shape[1] / scored,
        decode_s=decode_s,
        step_s=step_s,
        open_s=opened,
        first_s=max(first - long[1], 0.0),
    )


def _line(few: tuple[int, float], many: tuple[int, float]) -> tuple[float, float]:
    """(tokens a second, seconds beside them) of the line through two (tokens, seconds).

    Where noise has the line rise too steeply, all is spent by the token.
    """
    slope = max(many[1] - few[1], 0.1 * many[1]) / (many[0] - few[0])
    slope = min(slope, many[1] / many[0])
    return 1 / slope, max(many[1] - slope * many[0], 0.0)


def _timed_step(trainer: Trainer, forest: Forest) -> tuple[int, float]:
    """(tokens, seconds) of an optimiser step."""
    return forest.tokens.shape[1], _best(lambda: _train(trainer, forest))


def _first_step(model: nn.Module, forest: Forest) -> float:
    """Seconds of it, as it is at the beginning of a stage: nothing of an earlier one is at hand."""
    hand_back_freed_memory()
    trainer = Trainer(model, Optim(lr=1e-9), num_steps=2)
    started = time.perf_counter()
    _train(trainer, forest)
    return time.perf_counter() - started


def _train(trainer: Trainer, forest: Forest) -> None:
    logprobs, _, _ = score_trees(trainer.model, forest)
    trainer.step([Loss(-logprobs.mean())])


def _best(work: Callable[[], object]) -> float:
    """The shortest of three: the first warms up, and other programs only ever slow one down."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
