"""All measurements of a machine and a model, and each beside the limit that is nearest to it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from burnish.bench.flops import Shape, body_matrices
from burnish.bench.machine import (
    Machine,
    Products,
    layer_products,
    own_rate,
    product_rate,
    read_rate,
    squares,
)
from burnish.bench.sampling import Decoding, Prefill, time_decoding, time_prefill
from burnish.bench.spread import Spread
from burnish.bench.training import GroupStep, Supervised, time_group_step, time_supervised
from burnish.models.load import open_causal_lm
from burnish.models.policy import context_length, head_weight
from burnish.pipeline.environment import peak_memory_bytes
from burnish.types import Json

DOCUMENT_TOKENS, DOCUMENTS = 512, 4
DECODED_ROWS = (1, 16, 64)
DECODE_PROMPT_TOKENS, DECODE_TOKENS = 128, 24
GROUP_PROMPTS, GROUP_SIZE, GROUP_PROMPT_TOKENS, GROUP_TOKENS = 8, 8, 48, 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the machine can do at most."""

    bfloat16: Products
    float32: Products
    own_products_flops_per_s: Spread
    """Of the model's own products in bfloat16, forwards and backwards, with nothing beside them."""
    read_bytes_per_s: Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingLimits:
    """Tokens a second that decoding cannot exceed, for either of two reasons."""

    compute_tokens_per_s: float
    """All products at the machine's best rate."""
    memory_tokens_per_s: float
    """All weights, keys and values read once a step."""

    @classmethod
    def of(cls, decoding: Decoding, limits: Limits) -> "DecodingLimits":
        """Of such decoding on this machine."""
        flops_per_s = limits.bfloat16.flops_per_s.median
        bytes_per_s = limits.read_bytes_per_s.median
        return cls(
            compute_tokens_per_s=decoding.rows * flops_per_s / decoding.flops_per_step,
            memory_tokens_per_s=decoding.rows * bytes_per_s / decoding.bytes_per_step,
        )

    @property
    def nearer(self) -> Literal["compute", "memory"]:
        """The limit that is met first."""
        return "compute" if self.compute_tokens_per_s < self.memory_tokens_per_s else "memory"

    def share(self, tokens_per_s: float) -> float:
        """Of the nearer limit."""
        return tokens_per_s / min(self.compute_tokens_per_s, self.memory_tokens_per_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What was done with a model."""

    parameters: int
    shape: Shape
    prefill: Prefill
    decoding: tuple[Decoding, ...]
    supervised: Supervised
    group_step: GroupStep
    sampling_peak_bytes: int
    """The most memory that the process held until all sampling was done."""
    training_peak_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Everything, and shares of the limits."""

    machine: Machine
    limits: Limits
    work: Work

    @property
    def prefill_share(self) -> float:
        """Of the best bfloat16 rate."""
        done = self.work.prefill
        return self._share(done.flops_per_token * done.tokens_per_s.median)

    @property
    def supervised_share(self) -> float:
        """Of the best bfloat16 rate, the optimiser's time included."""
        done = self.work.supervised
        return self._share(done.flops_per_token * done.tokens_per_s.median)

    @property
    def scoring_share(self) -> float:
        """Of the best bfloat16 rate."""
        return self._share(
            self.work.group_step.scoring_flops / self.work.group_step.scoring_s.median
        )

    @property
    def update_share(self) -> float:
        """Of the best bfloat16 rate."""
        return self._share(self.work.group_step.update_flops / self.work.group_step.update_s.median)

    @property
    def own_products_share(self) -> float:
        """Of the best bfloat16 rate."""
        return self._share(self.limits.own_products_flops_per_s.median)

    def decoding_limits(self) -> list[DecodingLimits]:
        """In the order of `work.decoding`."""
        return [DecodingLimits.of(decoding, self.limits) for decoding in self.work.decoding]

    def _share(self, flops_per_s: float) -> float:
        return flops_per_s / self.limits.bfloat16.flops_per_s.median

    def to_json(self) -> dict[str, Json]:
        """Every number, in seconds, bytes and operations a second; shares are of 1."""
        out: dict[str, Json] = asdict(self)
        out["shares"] = {
            "own_products": self.own_products_share,
            "prefill": self.prefill_share,
            "supervised": self.supervised_share,
            "group_scoring": self.scoring_share,
            "group_update": self.update_share,
        }
        out["decoding_limits"] = [
            asdict(limits)
            | {"nearer": limits.nearer, "share": limits.share(done.tokens_per_s.median)}
            for done, limits in zip(self.work.decoding, self.decoding_limits(), strict=True)
        ]
        return out


def measure(path: Path, remark: Callable[[str], None]) -> Findings:
    """Time the model in `path` in bfloat16, then the machine; `remark` says what comes next.

    The model is first, because memory's peak is to be its own.

    Raises:
        ModelError: it cannot be opened.
    """
    remark("opening the model")
    model = open_causal_lm(path, "bfloat16")
    remark("timing prefill and decoding")
    longest = min(DOCUMENT_TOKENS, context_length(model) - 1)
    prefill = time_prefill(model, prompts=DOCUMENTS, prompt_tokens=longest)
    decoding = tuple(
        time_decoding(
            model, rows=rows, prompt_tokens=DECODE_PROMPT_TOKENS, new_tokens=DECODE_TOKENS
        )
        for rows in DECODED_ROWS
    )
    sampling_peak = peak_memory_bytes()
    remark("timing steps of SFT")
    supervised = time_supervised(model, documents=DOCUMENTS, document_tokens=longest)
    remark("timing steps of GRPO")
    group_step = time_group_step(
        model,
        prompts=GROUP_PROMPTS,
        completions=GROUP_SIZE,
        prompt_tokens=GROUP_PROMPT_TOKENS,
        new_tokens=GROUP_TOKENS,
    )
    work = Work(
        parameters=sum(p.numel() for p in model.parameters()),
        shape=Shape.of(model),
        prefill=prefill,
        decoding=decoding,
        supervised=supervised,
        group_step=group_step,
        sampling_peak_bytes=sampling_peak,
        training_peak_bytes=peak_memory_bytes(),
    )
    body, (columns, inner) = body_matrices(model), head_weight(model).shape
    del model
    remark("timing matrix products and memory")
    return Findings(machine=Machine.here(), limits=_limits(body, (columns, inner)), work=work)


def _limits(body: list[tuple[int, int]], head: tuple[int, int]) -> Limits:
    return Limits(
        bfloat16=product_rate(torch.bfloat16, squares() + layer_products(body)),
        float32=product_rate(torch.float32, squares() + layer_products(body)),
        own_products_flops_per_s=own_rate(body, head, torch.bfloat16),
        read_bytes_per_s=read_rate(),
    )
