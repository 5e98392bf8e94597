"""Attention within trees on a GPU, by flash attention's kernels for sequences of any length.

A tree's stem and each of its branches are sequences of their own, causal, end to end in the row. A
token of a branch sees its stem besides. That is a second call, of all branches of a tree on their
stem, and the two are merged by their normalisers, as blockwise attention always is:

    Z = Z_own + Z_stem,   out = (Z_own out_own + Z_stem out_stem) / Z.

The kernels' backward takes what was attended to together, `out` and log Z, from outside: with the
merged ones, each call's gradients are its exact share (so does ring attention, Liu et al. 2023,
2310.01889). Differentiating the merge itself would not do: torch gives log Z no gradient.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.varlen import AuxRequest, varlen_attn

CAUSAL, FULL = (-1, 0), (-1, -1)
"""Windows, in torch's words."""
LARGEST_HEAD, HEAD_MULTIPLE = 256, 8
"""Sizes of heads that flash attention has kernels for."""
OLDEST = (8, 0)
"""Ampere: the first GPUs that flash attention and bfloat16 run on."""


def supports(query: Tensor) -> bool:
    """Whether the kernels take such tensors: bfloat16, on a GPU that has them."""
    size = query.shape[-1]
    return (
        query.device.type == "cuda"
        and query.dtype == torch.bfloat16
        and size % HEAD_MULTIPLE == 0
        and size <= LARGEST_HEAD
        and _capability(query.device) >= OLDEST
    )


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences end to end: where each starts and the last ends, and the longest."""

    starts: Int[Tensor, " n1"]
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Self:
        """None may be empty: what the kernels make of that differs between versions."""
        starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        return cls(starts, max(lengths))


@dataclass(frozen=True, slots=True)
class Stems:
    """The branches of trees that branch, on their stems: tokens' places in the row, and the
    sequences that they are, a tree each."""

    branch_places: Int[Tensor, " q"]
    stem_places: Int[Tensor, " k"]
    branches: Sequences
    stems: Sequences


@dataclass(frozen=True, slots=True)
class Segments:
    """A row of trees, as the kernels want to know it."""

    own: Sequences
    """Each stem and each branch; a stem with one branch is one sequence with it."""
    stems: Stems | None
    """None: no tree branches."""

    @classmethod
    def of(cls, trees: Sequence[tuple[int, Sequence[int]]], device: torch.device) -> Self:
        """Trees given as in `Ragged.of`."""
        own: list[int] = []
        forks: list[tuple[int, int, int]] = []
        start = 0
        for stem, branches in trees:
            end = start + stem + sum(branches)
            if len(branches) > 1 and stem:
                own += [stem, *branches]
                if end > start + stem:
                    forks.append((start, start + stem, end))
            else:
                own += branches if len(branches) > 1 else [end - start]
            start = end
        return cls(
            Sequences.of([length for length in own if length], device),
            _stems(forks, device) if forks else None,
        )


def _stems(forks: Sequence[tuple[int, int, int]], device: torch.device) -> Stems:
    """Of trees that start, fork and end at these places of the row."""
    return Stems(
        branch_places=_places([(fork, end) for _, fork, end in forks], device),
        stem_places=_places([(start, fork) for start, fork, _ in forks], device),
        branches=Sequences.of([end - fork for _, fork, end in forks], device),
        stems=Sequences.of([fork - start for start, fork, _ in forks], device),
    )


def _places(spans: Iterable[tuple[int, int]], device: torch.device) -> Tensor:
    return torch.cat([torch.arange(start, end) for start, end in spans]).to(device)


def varlen_attention(
    query: Float[Tensor, "total heads size"],
    key: Float[Tensor, "total kv_heads size"],
    value: Float[Tensor, "total kv_heads size"],
    segments: Segments,
    scale: float,
) -> Float[Tensor, "total heads size"]:
    """Attention of every token of the row within its tree."""
    if segments.stems is None:
        own = segments.own
        out = varlen_attn(
            query, key, value, own.starts, own.starts, own.longest, own.longest, scale=scale,
            window_size=CAUSAL, enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        assert isinstance(out, Tensor)
        return out
    return _TreeAttention.apply(  # type: ignore[no-untyped-call,no-any-return]
        query, key, value, segments.own, segments.stems, scale
    )


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, own: Sequences, stems: Stems,
        scale: float,
    ) -> Tensor:  # fmt: skip
        out, norms = _attended(query, key, value, own, own, CAUSAL, scale)
        branch, stem = stems.branch_places, stems.stem_places
        beside, beside_norms = _attended(
            query.index_select(0, branch), key.index_select(0, stem), value.index_select(0, stem),
            stems.branches, stems.stems, FULL, scale,
        )  # fmt: skip
        own_norms = norms.index_select(1, branch)
        both = torch.logaddexp(own_norms, beside_norms)
        merged = _share(own_norms, both) * out.index_select(0, branch)
        merged += _share(beside_norms, both) * beside
        out = out.index_copy(0, branch, merged.to(out.dtype))
        norms = norms.index_copy(1, branch, both)
        ctx.save_for_backward(query, key, value, out, norms)
        ctx.own, ctx.stems, ctx.scale = own, stems, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, norms = ctx.saved_tensors
        own, stems, grad = ctx.own, ctx.stems, grads[0].contiguous()
        found = _slopes(grad, query, key, value, out, norms, own, own, CAUSAL, ctx.scale)
        branch, stem = stems.branch_places, stems.stem_places
        beside = _slopes(
            grad.index_select(0, branch), query.index_select(0, branch),
            key.index_select(0, stem), value.index_select(0, stem),
            out.index_select(0, branch), norms.index_select(1, branch),
            stems.branches, stems.stems, FULL, ctx.scale,
        )  # fmt: skip
        for whole, part, places in zip(found, beside, (branch, stem, stem), strict=True):
            whole.index_add_(0, places, part)
        return *found, None, None, None


def _share(norms: Tensor, both: Tensor) -> Tensor:
    """Z / Z_both of each token and head, to multiply what it found by."""
    return (norms - both).exp().T[..., None]


def _attended(
    query: Tensor, key: Tensor, value: Tensor, of: Sequences, on: Sequences,
    window: tuple[int, int], scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What each query finds, and the logarithm of its normaliser, `[heads, total]` in float32."""
    out, norms = varlen_attn(
        query, key, value, of.starts, on.starts, of.longest, on.longest, scale=scale,
        window_size=window, enable_gqa=query.shape[1] != key.shape[1],
        return_aux=AuxRequest(lse=True),
    )  # fmt: skip
    assert norms.shape == (query.shape[1], len(query)), "torch lays normalisers out otherwise"
    return out, norms


def _slopes(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, norms: Tensor,
    of: Sequences, on: Sequences, window: tuple[int, int], scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of queries, keys and values of one call, whose probabilities are those under the
    given normalisers."""
    unused = torch.zeros(2, dtype=torch.uint64, device=query.device)  # dropout's state
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.torch_attn._varlen_attn_backward(
        grad, query, key, value, out, norms, of.starts, on.starts, of.longest, on.longest,
        window == CAUSAL, unused, scale, list(window),
    )  # fmt: skip
    return found
