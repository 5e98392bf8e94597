"""How many tokens a second this machine handles, for estimates of time and for budgets."""

import time
from pathlib import Path

from burnish.errors import RunError
from burnish.pipeline.budget import Speeds
from burnish.pipeline.environment import cpu_name, usable_cores, versions
from burnish.pipeline.files import read_json, write_json

HIDDEN, INNER, LAYERS, VOCAB = 576, 1536, 30, 49152
"""The shapes of SmolLM2-135M."""
DECODE_ROWS = 32
"""Completions that are sampled side by side."""
TRAIN_TOKENS = 512
BACKWARD = 3.0
"""Forward and backward cost three forwards."""
EFFICIENCY = 0.5
"""Share of its time that a stage spends in such products; the rest is attention and Python."""


def speeds(cache: Path) -> Speeds:
    """Measured now, or before on this machine with this torch if that was faster.

    The better one counts because a measurement beside other programs only ever comes out slower.
    """
    machine = f"{cpu_name()}, {usable_cores()} cores, torch {versions().get('torch')}"
    path = cache / "speeds.json"
    try:
        known = read_json(path) or {}
    except RunError:  # cut short or edited: what was measured now will do
        known = {}
    before = known if known.get("machine") == machine else {}
    now = measure()
    rates = {"sampled": now.sampled, "trained": now.trained, "scored": now.scored}
    best = {name: max(rate, float(before.get(name, 0.0))) for name, rate in rates.items()}
    write_json(path, {"machine": machine} | best)
    return Speeds(**best)


def measure() -> Speeds:
    """Time the matrix products of one token through the model, many rows and few at a time."""
    import torch

    shapes = [(HIDDEN, 2 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * INNER), (INNER, HIDDEN)]
    weights = [torch.zeros(a, b, dtype=torch.bfloat16) for a, b in shapes]
    head = torch.zeros(HIDDEN, VOCAB, dtype=torch.bfloat16)

    def forward_s(rows: int) -> float:
        inputs = [torch.zeros(rows, a, dtype=torch.bfloat16) for a, _ in shapes]
        best = float("inf")
        for _ in range(3):  # the first pass warms up; the best is the least disturbed
            start = time.perf_counter()
            for _ in range(LAYERS):
                for x, weight in zip(inputs, weights, strict=True):
                    x @ weight
            inputs[0] @ head
            best = min(best, time.perf_counter() - start)
        return best

    with torch.inference_mode():
        many, few = forward_s(TRAIN_TOKENS), forward_s(DECODE_ROWS)
    return Speeds(
        sampled=EFFICIENCY * DECODE_ROWS / few,
        trained=EFFICIENCY * TRAIN_TOKENS / many / BACKWARD,
        scored=EFFICIENCY * TRAIN_TOKENS / many,
    )
