"""The language-model head with the log-probabilities and entropies of its tokens.

It is applied to trained positions only, in chunks, forwards and backwards, so that
`[tokens, vocabulary]` never exists as a whole. On the CPU a chunk is one product and one pass.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from burnish.kernels.head import backward_into, normalisers
from burnish.kernels.numbers import follow_torch_threads, supports
from burnish.models.products import add_head_gradient, head_backward, head_product
from burnish.models.support import WHOLE, Support

CHUNK = 256
"""Positions whose logits exist at one time: 256 * 49,152 * 2 bytes are 25 MB."""

LEAST = -1e4
"""Log-probabilities below this count as this where they are multiplied by their probability, 0."""


class _TokenScores(torch.autograd.Function):
    """log softmax(h W^T / temperature) at the targets, and entropies; logits are recomputed.

    Over the kept set only, which gradients take as given.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        support: Support,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(targets), dtype=wide(hidden.dtype), device=hidden.device)
        entropies, norms = torch.zeros_like(logprobs), torch.empty_like(logprobs)
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = head_product(hidden[part], weight)
            support.truncate_(logits, temperature, targets[part])
            norms[part], entropies[part] = _normalised(logits, temperature, with_entropy)
            chosen = logits.gather(-1, targets[part, None])[:, 0].to(logprobs.dtype)
            logprobs[part] = chosen / temperature - norms[part]
        ctx.save_for_backward(hidden, weight, targets, norms, entropies)
        ctx.temperature, ctx.support = temperature, support
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, norms, entropies = ctx.saved_tensors
        grad_logprobs, grad_entropies = (grad.contiguous() for grad in grads)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = head_product(hidden[part], weight)
            ctx.support.truncate_(logits, ctx.temperature, targets[part])
            delta = _slopes(
                logits, ctx.temperature, norms[part], entropies[part], targets[part],
                grad_logprobs[part], grad_entropies[part],
            )  # fmt: skip
            grad_hidden[part] = head_backward(delta, weight)
            if grad_weight is not None:
                add_head_gradient(grad_weight, delta, hidden[part], first=start == 0)
        return grad_hidden, grad_weight, None, None, None, None


def _normalised(logits: Tensor, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor]:
    """log sum exp of a chunk's logits over the temperature, and entropies or zeros."""
    if supports(logits):
        return normalisers(logits, temperature, with_entropy)
    logits = logits.to(wide(logits.dtype)) / temperature
    norms = logits.logsumexp(-1)
    if not with_entropy:
        return norms, torch.zeros_like(norms)
    logprobs = logits - norms[:, None]
    return norms, -logprobs.exp().mul_(logprobs.clamp_(min=LEAST)).sum(-1)


def _slopes(
    logits: Tensor, temperature: float, norms: Tensor, entropies: Tensor, targets: Tensor,
    grad_logprobs: Tensor, grad_entropies: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient of a chunk's logits, in their format.

    d log p_y / d logits = onehot - p;   d H / d logits = -p (log p + H); both over the temperature.
    """
    if supports(logits):
        backward_into(logits, temperature, norms, entropies, targets, grad_logprobs, grad_entropies)
        return logits
    grad, turn = (g[:, None] / temperature for g in (grad_logprobs, grad_entropies))
    logprobs = logits.to(norms.dtype) / temperature - norms[:, None]
    delta = -logprobs.exp() * (grad + turn * (logprobs.clamp(min=LEAST) + entropies[:, None]))
    return delta.scatter_add_(1, targets[:, None], grad).to(logits.dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """float32 for anything narrower."""
    return dtype if dtype == torch.float64 else torch.float32


def head_logits(
    hidden: Float[Tensor, "N D"], weight: Float[Tensor, "V D"], temperature: float = 1.0
) -> Float[Tensor, "N V"]:
    """h W^T / temperature as a fresh tensor, in float32 or wider; the caller keeps N small."""
    raw = head_product(hidden, weight)
    logits = raw.to(wide(raw.dtype))
    return logits if temperature == 1.0 else logits.div_(temperature)


def token_scores(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    *,
    temperature: float = 1.0,
    support: Support = WHOLE,
    entropy: bool = True,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of each target and entropy of each distribution, in float32 nats.

    Both of the distribution renormalised over the support, computed from these logits; a target is
    kept even where they put it outside. Entropies are zeros without `entropy`.
    """
    follow_torch_threads()
    logprobs, entropies = _TokenScores.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, temperature, support, entropy
    )
    return logprobs, entropies
