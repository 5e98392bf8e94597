"""Attention within trees on the CPU, for tokens in a row whose heads are not turned yet.

Forwards by torch's blockwise kernel. Its backward kernel reaches a tenth of the rate of a matrix
product, so backwards is five products a block with one compiled loop between them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from burnish.kernels.rotary import from_trees, to_trees
from burnish.kernels.softmax import dots, softmax_backward
from burnish.models.padding import Padded
from burnish.models.products import factor_dtype

BLOCK = 256
"""Tokens whose scores exist at one time in the backward pass, for each tree and head."""
EXTRA = 8
"""Dimensions beside a head's own, for the normaliser: three are used, products want a multiple."""

Angles = tuple[Tensor, Tensor]
"""Cosines and sines of the positions, `[N, size]` each."""


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        heads: int,
        angles: Angles | None,
        batches: Sequence[Padded],
        scale: float,
    ) -> Tensor:
        groups, size = (qkv.shape[1] - heads) // 2, qkv.shape[2]
        out, norms = qkv.new_empty(len(qkv), heads, size), []
        dtype = factor_dtype(qkv)
        for batch in batches:
            parts = []
            for first, count, turned in _heads(heads, groups, angles):
                part = qkv.new_zeros(batch.trees, 1, batch.longest, count, size, dtype=dtype)
                to_trees(qkv, first, turned, batch.tokens, batch.places, part)
                parts.append(part[:, 0].transpose(1, 2))
            mixed, norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *parts, 0.0, batch.bias is None, attn_mask=_like(batch.bias, parts[0]), scale=scale
            )
            mixed = mixed.transpose(1, 2)[:, None].contiguous()
            from_trees(mixed, None, batch.tokens, batch.places, out, 0)
            norms.append(norm)
        ctx.save_for_backward(qkv, out, *norms, *(angles or ()))
        ctx.heads, ctx.batches, ctx.scale = heads, batches, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv, out, *rest = ctx.saved_tensors
        norms, turned = rest[: len(ctx.batches)], rest[len(ctx.batches) :]
        angles = (turned[0], turned[1]) if turned else None
        groups = (qkv.shape[1] - ctx.heads) // 2
        grad, grad_qkv = grads[0].contiguous(), torch.empty_like(qkv)
        for batch, norm in zip(ctx.batches, norms, strict=True):
            dot = qkv.new_zeros(
                batch.trees, groups, batch.longest, ctx.heads // groups, dtype=torch.float32
            )
            dots(grad, out, batch.tokens, batch.places, dot)
            slope = _grouped(grad, 0, ctx.heads, groups, None, batch)
            parts = [
                _grouped(qkv, first, count, groups, turns, batch)
                for first, count, turns in _heads(ctx.heads, groups, angles)
            ]
            _write_normalisers(parts[0], parts[1], norm, ctx.scale)
            query, key, value = parts
            found = _slopes(query, key, value, slope, dot, batch, ctx.scale)
            for part, (first, _, turns) in zip(
                found, _heads(ctx.heads, groups, angles), strict=True
            ):
                from_trees(part, turns, batch.tokens, batch.places, grad_qkv, first)
        return grad_qkv, None, None, None, None


def tree_attention(
    qkv: Float[Tensor, "N heads2 size"],
    heads: int,
    angles: Angles | None,
    batches: Sequence[Padded],
    scale: float,
) -> Float[Tensor, "N heads size"]:
    """Attention of every token of every batch, turned by its position first if there are angles."""
    return _TreeAttention.apply(  # type: ignore[no-untyped-call,no-any-return]
        qkv, heads, angles, batches, scale
    )


def _heads(
    heads: int, groups: int, angles: Angles | None
) -> tuple[tuple[int, int, Angles | None], ...]:
    """First head and number of queries, keys and values, and what turns them."""
    return (0, heads, angles), (heads, groups, angles), (heads + groups, groups, None)


def _like(bias: Tensor | None, tensor: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(tensor.dtype)


def _grouped(
    x: Tensor, first: int, count: int, groups: int, turns: Angles | None, batch: Padded
) -> Tensor:
    """`[trees, kv_heads, longest, share, size + EXTRA]`, the extra dimensions zero."""
    shape = (batch.trees, groups, batch.longest, count // groups, x.shape[2] + EXTRA)
    out = x.new_zeros(shape, dtype=factor_dtype(x))
    to_trees(x, first, turns, batch.tokens, batch.places, out)
    return out


def _write_normalisers(query: Tensor, key: Tensor, norm: Tensor, scale: float) -> None:
    """Have query . key give score - log Z / scale, in the product's own accumulator.

    Scores then come out at most 0, and near 0 where probability is: rounding them to bfloat16
    costs a probability no more than rounding it itself. The normaliser is split in three numbers.
    """
    trees, groups, longest, share, size = query.shape
    rest = norm.transpose(1, 2).reshape(trees, longest, groups, share).transpose(1, 2) / -scale
    for place in range(size - EXTRA, size - EXTRA + 3):
        part = rest.to(query.dtype)
        query[..., place] = part
        key[..., place] = 1.0
        rest = rest - part


def _slopes(
    query: Tensor, key: Tensor, value: Tensor, slope: Tensor, dot: Tensor, batch: Padded,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of queries, keys and values; `slope` is that of what they mix to."""
    trees, groups, longest, share, width = query.shape
    size = width - EXTRA
    shapes = [(trees, groups, longest, n, size) for n in (share, 1, 1)]
    results = [query.new_empty(shapes[0]), query.new_zeros(shapes[1]), query.new_zeros(shapes[2])]

    def matrix(x: Tensor) -> Tensor:
        return x.view(trees * groups, -1, x.shape[-1])

    q, k, v, s = matrix(query), matrix(key), matrix(value), matrix(slope)
    grad_q, grad_k, grad_v = (matrix(x) for x in results)
    for first, last in _blocks(longest):
        rows = slice(first * share, last * share)
        mass = torch.bmm(q[:, rows], k[:, :last].transpose(1, 2))
        pull = torch.bmm(s[:, rows, :size], v[:, :last, :size].transpose(1, 2))
        block = (trees, groups, last - first, share, last)
        softmax_backward(
            mass.view(block), pull.view(block), dot, scale, first, batch.forks, batch.starts
        )
        grad_v[:, :last] += torch.bmm(mass.transpose(1, 2), s[:, rows, :size])
        grad_q[:, rows] = torch.bmm(pull, k[:, :last, :size])
        grad_k[:, :last] += torch.bmm(pull.transpose(1, 2), q[:, rows, :size])
    return results[0], results[1], results[2]


def _blocks(longest: int) -> Iterator[tuple[int, int]]:
    for first in range(0, longest, BLOCK):
        yield first, min(first + BLOCK, longest)
