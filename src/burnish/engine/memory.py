"""How much memory a stage takes at its most, from the shape of its models and what it has open.

Training a weight takes, beside its bfloat16 (2 bytes):
    on a processor  the other half of its float32 master and two moments (2 + 4 + 4), and its
                    gradient (2; 4 and a bfloat16 one on top where a step has several slices);
    on a GPU        a float32 master, two moments, a float32 gradient (16).
A trained token keeps, per layer, what its backward pass reads: see `_kept_numbers`. Sampling on a
processor adds a second copy of the weights, in the order that products of few rows want.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from burnish.models.shape import ModelShape
from burnish.models.token_scores import CHUNK
from burnish.pipeline.artifact import Ref
from burnish.pipeline.forecast import Known

HALF, FULL = 2, 4
"""Bytes of a bfloat16 and of a float32."""
BASE_BYTES = 560_000_000
"""Of Python, torch and transformers with their compiled loops, where nothing is open; measured."""
PIECES = 0.4
"""Of what training asks the system's allocator for, beside it: slices of all sizes leave pieces
that the next tensor does not fit into. Measured: 1,983 MiB taken where 1,413 were in use at the
most. The optimiser's states have pages of their own."""
GPU_BYTES = 80_000_000_000
"""Of a large GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What is open at one time."""

    models: tuple[Ref, ...]
    """One entry for each copy of weights."""
    trained: Ref | None = None
    """The one of them that has an optimiser."""
    lora_rank: int | None = None
    """Of its adapters, where only these are trained."""
    critic: Ref | None = None
    """Another of them that has an optimiser: the value function."""
    step_tokens: float = 0.0
    """Of one optimiser step."""
    micro_tokens: int = 0
    """Most tokens multiplied at one time, with gradients or without."""
    gradients: bool = False
    """Whether they are kept for a backward pass."""
    rows: float = 0.0
    """Completions in progress at one time, and"""
    row_tokens: float = 0.0
    """the length that each of them may reach."""
    sampled: Ref | None = None
    """Who writes them."""
    after_another: bool = False
    """Whether models were opened and freed before, in the same stage."""
    full_precision: bool = False
    """float32 in place of bfloat16."""


@runtime_checkable
class Weighed(Protocol):
    """A stage that says what it has open at its most: the largest of these counts."""

    def held(self, known: Known) -> Sequence[Held]: ...


def peak_bytes(
    moments: Sequence[Held], shapes: Mapping[Ref, ModelShape], *, gpu: bool
) -> float | None:
    """The most of several moments, and of reading their models, without what Python takes; None
    where the shape of a model is not known."""
    found = [0.0]
    for held in moments:
        if any(ref not in shapes for ref in held.models):
            return None
        wide = FULL if held.full_precision else HALF
        sizes = [shapes[ref].num_params * wide for ref in held.models]
        # The file's pages, the weights, and their copies side by side. What was freed before lies
        # in pieces, which none of these fits into.
        copies = 0.0 if gpu else 2.0 * max(sizes, default=0)
        then = max(sum(sizes) + copies, bytes_held(held, shapes, gpu=gpu))
        found.append(then + held.after_another * copies)
    return max(found)


def bytes_held(held: Held, shapes: Mapping[Ref, ModelShape], *, gpu: bool) -> float:
    """Of one moment, without what Python itself takes."""
    wide = FULL if held.full_precision else HALF
    total = float(sum(shapes[ref].num_params * wide for ref in held.models))
    trained = [(held.trained, held), (held.critic, replace(held, lora_rank=None))]
    states = 0.0
    for ref, how in trained:
        if ref is not None:
            states += _states(how, shapes[ref], gpu=gpu)
            total += _gradients(how, shapes[ref], gpu=gpu)
    scoring = shapes[held.trained or held.models[0]] if held.models else None
    if scoring is not None and held.micro_tokens:
        total += _passing(held, scoring, wide, gpu=gpu)
    if held.sampled is not None:
        shape = shapes[held.sampled]
        total += held.rows * held.row_tokens * shape.kv_values_per_token * wide
        total += held.rows * shape.vocab_size * (wide + 2 * FULL)
        if not gpu and not held.full_precision:
            total += wide * (shape.num_params - (not shape.tied_head) * _embedding(shape))
    pieces = PIECES if held.gradients and not gpu else 0.0
    return states + (1 + pieces) * total


def _states(held: Held, shape: ModelShape, *, gpu: bool) -> float:
    """Masters and moments."""
    split = not (gpu or held.full_precision or held.lora_rank is not None)
    master = 0 if held.full_precision else HALF if split else FULL
    return _trained_weights(held, shape) * (master + 2 * FULL)


def _gradients(held: Held, shape: ModelShape, *, gpu: bool) -> float:
    if not held.gradients:
        return 0.0
    slices = held.step_tokens / max(held.micro_tokens, 1) > 1
    wide = gpu or held.full_precision or held.lora_rank is not None or slices
    return _trained_weights(held, shape) * (FULL if wide else HALF)


def _trained_weights(held: Held, shape: ModelShape) -> int:
    return shape.num_params if held.lora_rank is None else lora_params(shape, held.lora_rank)


def _passing(held: Held, shape: ModelShape, wide: int, *, gpu: bool) -> float:
    tokens = min(held.micro_tokens, held.step_tokens or held.micro_tokens)
    kept = shape.num_layers * _kept_numbers(shape, gpu=gpu) if held.gradients else 0
    passing = _kept_numbers(shape, gpu=gpu) + 2 * shape.intermediate_size
    head = CHUNK * shape.vocab_size * (wide + FULL) + held.gradients * _embedding(shape) * wide
    return wide * tokens * (kept + passing) + head


def _kept_numbers(shape: ModelShape, *, gpu: bool) -> int:
    """Of a token and layer: two sums, queries, keys and values, what attention mixed, and both
    halves of the gated unit. Without the fused layers each norm, turn and product keeps its own."""
    inner, groups = shape.num_heads * shape.head_width, shape.kv_heads * shape.head_width
    fused = 2 * shape.hidden_size + 2 * inner + 2 * groups + 2 * shape.intermediate_size
    if not gpu:
        return fused
    return fused + 6 * shape.hidden_size + inner + groups + 2 * shape.intermediate_size


def _embedding(shape: ModelShape) -> int:
    return shape.vocab_size * shape.hidden_size


def lora_params(shape: ModelShape, rank: int) -> int:
    """Of adapters at every linear layer."""
    inner, groups = shape.num_heads * shape.head_width, shape.kv_heads * shape.head_width
    width, wide = shape.hidden_size, shape.intermediate_size
    ends = 2 * (width + inner) + 2 * (width + groups) + 3 * (width + wide)
    return shape.num_layers * rank * ends
