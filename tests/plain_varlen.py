"""Variable-length attention by its definition, in place of the kernels that need a GPU.

Signatures and shapes are those of torch 2.13's `torch_attn::_varlen_attn` and its backward: tokens
`[total, heads, size]`, sequences between neighbours of `cu_seq`, normalisers `[heads, total]`.
Importing this file gives torch an implementation for the processor, which has none.
"""

from collections import Counter
from itertools import pairwise

import torch
import torch.nn.attention.varlen as kernels
from torch import Tensor

calls: Counter[str] = Counter()
"""Of the kernels, since it was last cleared."""


@kernels._varlen_attn.register_kernel("cpu")
def forward(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor,
    max_q: int, max_k: int, is_causal: bool = False, scale: float | None = None,
    window_size: list[int] | None = None, enable_gqa: bool = False, *_: object,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """What each query finds, and log sum exp of its scores; in float32, rounded at the end."""
    calls["forward"] += 1
    _check(query, key, cu_seq_q, cu_seq_k, max_q, max_k, enable_gqa)
    assert is_causal == (window_size == [-1, 0])
    out = torch.full_like(query, float("nan"))
    norms = torch.full((query.shape[1], len(query)), float("nan"))
    for (q0, q1), (k0, k1) in zip(_spans(cu_seq_q), _spans(cu_seq_k), strict=True):
        scores = _scores(query[q0:q1], key[k0:k1], is_causal, scale)
        norms[:, q0:q1] = scores.logsumexp(-1)
        wide = _repeated(value[k0:k1], query.shape[1])
        out[q0:q1] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), wide).to(out.dtype)
    return out, norms, torch.zeros(2, dtype=torch.uint64)


@kernels._varlen_attn_backward.register_kernel("cpu")
def backward(
    grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor,
    cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, is_causal: bool,
    rng_state: Tensor, scale: float | None = None, window_size: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As flash attention's: probabilities from the given normalisers, and

    D = sum(grad * out),   dS = P (grad V^T - D),   dQ = dS K,   dK = dS^T Q,   dV = P^T grad.
    """
    calls["backward"] += 1
    _check(query, key, cu_seq_q, cu_seq_k, max_q, max_k, True)
    heads, groups = query.shape[1], key.shape[1]
    factor = query.shape[2] ** -0.5 if scale is None else scale
    grads = [torch.zeros(x.shape) for x in (query, key, value)]
    for (q0, q1), (k0, k1) in zip(_spans(cu_seq_q), _spans(cu_seq_k), strict=True):
        scores = _scores(query[q0:q1], key[k0:k1], is_causal, scale)
        mass = (scores - lse[:, q0:q1, None]).exp()
        slope = grad_out[q0:q1].float()
        dot = (slope * out[q0:q1].float()).sum(-1).T[..., None]
        pull = torch.einsum("qhd,khd->hqk", slope, _repeated(value[k0:k1], heads))
        turn = mass * (pull - dot) * factor
        grads[0][q0:q1] = torch.einsum("hqk,khd->qhd", turn, _repeated(key[k0:k1], heads))
        grad_k = torch.einsum("hqk,qhd->khd", turn, query[q0:q1].float())
        grad_v = torch.einsum("hqk,qhd->khd", mass, slope)
        grads[1][k0:k1] += grad_k.unflatten(1, (groups, -1)).sum(2)
        grads[2][k0:k1] += grad_v.unflatten(1, (groups, -1)).sum(2)
    dq, dk, dv = (g.to(query.dtype) for g in grads)
    return dq, dk, dv


def _spans(cu_seq: Tensor) -> list[tuple[int, int]]:
    return list(pairwise(cu_seq.tolist()))


def _repeated(x: Tensor, heads: int) -> Tensor:
    return x.float().repeat_interleave(heads // x.shape[1], dim=1)


def _scores(query: Tensor, key: Tensor, is_causal: bool, scale: float | None) -> Tensor:
    factor = query.shape[2] ** -0.5 if scale is None else scale
    wide = _repeated(key, query.shape[1])
    scores = torch.einsum("qhd,khd->hqk", query.float(), wide) * factor
    if is_causal:
        assert scores.shape[1] == scores.shape[2]
        scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), float("-inf"))
    return scores


def _check(
    query: Tensor, key: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int,
    enable_gqa: bool,
) -> None:  # fmt: skip
    """What the kernels take for granted, and read out of bounds where it does not hold."""
    assert enable_gqa or query.shape[1] == key.shape[1]
    for cu_seq, tokens, longest in ((cu_seq_q, query, max_q), (cu_seq_k, key, max_k)):
        lengths = [end - start for start, end in _spans(cu_seq)]
        assert cu_seq.dtype == torch.int32 and cu_seq[0] == 0 and cu_seq[-1] == len(tokens)
        assert min(lengths) > 0 and max(lengths) == longest
        assert tokens.stride(-1) == 1
