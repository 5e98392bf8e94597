"""Two models' whole next-token distributions compared, position by position.

Both heads are applied in chunks, forwards and backwards, so that `[tokens, vocabulary]` never
exists as a whole. What is computed from the two sets of logits is the caller's: distillation and an
exact KL share this file. Only the first model learns; the second is a teacher or a reference.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from burnish.models.products import add_head_gradient, head_backward
from burnish.models.token_scores import head_logits, wide

CHUNK = 256
"""Positions compared at one time. A divergence and its gradient hold some eight tensors of so many
rows; with 256 * 49,152 * 4 bytes each that is 400 MB."""

Measure = Callable[[Tensor, Tensor], Tensor]
"""Of the logits `[n, V]` of student and teacher, in float32 or wider; gives a row a position."""


class _Divergences(torch.autograd.Function):
    """A measure of the logits h W^T of two models; logits are recomputed for the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        teacher_hidden: Tensor,
        teacher_weight: Tensor,
        measure: Measure,
        observe: Measure | None,
    ) -> tuple[Tensor, Tensor]:
        found, seen = [], []
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            student = head_logits(hidden[part], weight)
            teacher = head_logits(teacher_hidden[part], teacher_weight)
            found.append(measure(student, teacher))
            if observe is not None:
                seen.append(observe(student, teacher))
        nothing = torch.empty(len(hidden), 0, dtype=wide(hidden.dtype), device=hidden.device)
        observed = torch.cat(seen) if seen else nothing
        ctx.save_for_backward(hidden, weight, teacher_hidden, teacher_weight)
        ctx.measure = measure
        ctx.mark_non_differentiable(observed)
        return torch.cat(found) if found else nothing.sum(-1), observed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, teacher_hidden, teacher_weight = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            # Summed wide: chunks are many, and each would round in bfloat16.
            grad_weight = torch.zeros_like(weight, dtype=wide(weight.dtype))
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            student = head_logits(hidden[part], weight).requires_grad_()
            teacher = head_logits(teacher_hidden[part], teacher_weight)
            with torch.enable_grad():
                value = ctx.measure(student, teacher)
            (delta,) = torch.autograd.grad(value, student, grads[0][part])
            delta = delta.to(hidden.dtype)
            grad_hidden[part] = head_backward(delta, weight)
            if grad_weight is not None:
                add_head_gradient(grad_weight, delta, hidden[part], first=start == 0)
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, None, None, None, None


def divergences(
    student_hidden: Float[Tensor, "N D"],
    student_weight: Float[Tensor, "V D"],
    teacher_hidden: Float[Tensor, "N E"],
    teacher_weight: Float[Tensor, "V E"],
    measure: Measure,
    observe: Measure | None = None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
    """`measure` at each position, differentiable in the student's; and what `observe` saw there.

    Hidden states are those that predict a position, weights those of the language-model heads, over
    the same vocabulary. `measure` gives `[n]` and must not mix positions; `observe` gives `[n, K]`
    for the log, without a gradient and at no price in the backward pass (without it K is 0).
    """
    found, observed = _Divergences.apply(  # type: ignore[no-untyped-call]
        student_hidden, student_weight, teacher_hidden, teacher_weight, measure, observe
    )
    return found, observed
