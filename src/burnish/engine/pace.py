"""How many tokens a second this machine samples, trains on and scores with a given model.

Measured with the real model and code, because matrix products alone say little about it: on a
processor with matrix units, most of a step is spent beside them.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

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

PROMPT, COMPLETION = 45, 35
"""Tokens of the rows that are trained on: the size of short chat turns."""
TRAIN_ROWS = 16
SAMPLE_ROWS, SAMPLE_TOKENS = 96, 9


def measure_pace(path: Path, device: str = "cpu", *, precision: Precision = "bfloat16") -> Speeds:
    """Open the model and time a scoring pass, an optimiser step and a short round of sampling."""
    text = TextModel.open(path, precision, device)
    vocabulary = head_weight(text.model).shape[0]
    draws = rng.stream(0, "pace").integers(0, vocabulary, (SAMPLE_ROWS, PROMPT + COMPLETION))
    rows = [tuple(int(t) for t in row) for row in draws]
    trees = [Tree.prompt(row[:PROMPT], [row[PROMPT:]]) for row in rows[:TRAIN_ROWS]]
    forest = Forest.of(trees, head_weight(text.model).device)
    num_tokens = forest.tokens.shape[1]
    sampler = LocalSampler(text.model, max_rows=SAMPLE_ROWS)
    prompts = [Request(prompt=rows[0][:PROMPT], key=0, num=SAMPLE_ROWS)]

    def score() -> None:
        with torch.no_grad():
            score_trees(text.model, forest)[0].cpu()  # waits for a GPU to have done it

    def sample(max_new_tokens: int) -> None:
        sampler.sample(prompts, Sampling(max_new_tokens=max_new_tokens))

    scored = _best(score)
    first, sampled = _best(lambda: sample(1)), _best(lambda: sample(SAMPLE_TOKENS))
    trainer = Trainer(text.model, Optim(lr=1e-9), num_steps=2)
    trained = _best(lambda: _train(trainer, forest))
    return Speeds(
        sampled=SAMPLE_ROWS * (SAMPLE_TOKENS - 1) / max(sampled - first, 1e-9),
        trained=num_tokens / trained,
        scored=num_tokens / scored,
    )


def _train(trainer: Trainer, forest: Forest) -> None:
    logprobs, _, _ = score_trees(trainer.model, forest)
    trainer.step([Loss(-logprobs.mean())])


def _best(work: Callable[[], None]) -> float:
    """The shortest of three: the first warms up, and other programs only ever slow one down."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
