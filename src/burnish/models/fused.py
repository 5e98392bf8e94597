"""Pieces of a decoder layer that are one step here and many in torch, forwards and backwards.

On the CPU in bfloat16 or float32 only: `burnish.kernels` has the loops.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from burnish.kernels import norm
from burnish.kernels import swiglu as gated
from burnish.kernels.numbers import supports
from burnish.kernels.transpose import transposed
from burnish.models import products
from burnish.models.products import WideLinear

Linear = Callable[[Tensor, Sequence[Any]], Tensor]
"""Multiplies rows by the weights of several layers, and gives the results side by side."""


class _AddRmsNorm(torch.autograd.Function):
    """x + y and the norm of it; without y, x and its norm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        total, out, factors = _sum_and_norm(x, y, weight, eps)
        ctx.save_for_backward(total, weight, factors)
        ctx.summed = y is not None
        return total, out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total, weight, factors = ctx.saved_tensors
        beside, grad = (g.contiguous() for g in grads)
        grad_x, grad_weight = norm.rms_norm_backward(grad, total, weight, factors, beside)
        return grad_x, grad_x if ctx.summed else None, grad_weight, None


def _sum_and_norm(
    x: Tensor, y: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    if y is not None:
        return norm.add_rms_norm(x, y, weight, eps)
    out, factors = norm.rms_norm(x, weight, eps)
    # A fresh view: autograd does not let an input be an output as it is.
    return x.view_as(x), out, factors


def _of_norm(module: nn.Module) -> tuple[Tensor, float]:
    weight, eps = module.weight, module.variance_epsilon
    assert isinstance(weight, Tensor) and isinstance(eps, float)
    return weight, eps


def add_rms_norm(
    x: Float[Tensor, "N D"], y: Float[Tensor, "N D"] | None, module: nn.Module
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
    """x + y (or x), and its RMS norm by a module of transformers."""
    if not torch.is_grad_enabled():
        total, out, _ = _sum_and_norm(x, y, *_of_norm(module))
        return total, out
    total, out = _AddRmsNorm.apply(x, y, *_of_norm(module))  # type: ignore[no-untyped-call]
    return total, out


class _Embedding(torch.autograd.Function):
    """Rows of a table, whose gradient names the rows that were read."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, unread: int | None) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape, ctx.unread = weight.shape, unread
        return weight[tokens]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (tokens,) = ctx.saved_tensors
        rows, places = torch.unique(tokens, return_inverse=True)
        sums = torch.zeros(len(rows), ctx.shape[1], dtype=torch.float32)
        sums.index_add_(0, places, grads[0].float())
        if ctx.unread is not None:
            sums[rows == ctx.unread] = 0
        named = torch.sparse_coo_tensor(
            rows[None],
            sums.to(grads[0].dtype),
            ctx.shape,
            check_invariants=False,
            is_coalesced=True,
        )
        return named if grads[0].dtype == torch.bfloat16 else named.to_dense(), None, None


def embedding(table: nn.Module, tokens: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
    """Rows of a table of embeddings.

    The gradient of a bfloat16 table is sparse: a dense one is as large as the vocabulary, for every
    slice. Where the head has the same weights, autograd adds it to the head's in place.
    """
    if type(table) is not nn.Embedding or not torch.is_grad_enabled():
        rows: Tensor = table(tokens)
        return rows
    return _Embedding.apply(  # type: ignore[no-untyped-call,no-any-return]
        table.weight, tokens, table.padding_idx
    )


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return gated.swiglu(gate_up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        return gated.swiglu_backward(grads[0].contiguous(), gate_up)[0]


def swiglu(gate_up: Float[Tensor, "N I2"]) -> Float[Tensor, "N I"]:
    """silu(gate) * up, of rows that hold both."""
    if not torch.is_grad_enabled():
        return gated.swiglu(gate_up)
    return _SwiGLU.apply(gate_up)  # type: ignore[no-untyped-call,no-any-return]


class _JoinedLinear(torch.autograd.Function):
    """x W^T for the W that several weights, which follow one another in memory, make up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, *weights)
        return products.linear(x, _joined(weights))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        grad_x = products.product(grads[0], _joined(weights)) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):
            return grad_x, *(None for _ in weights)
        return grad_x, *_weight_grads(grads[0], x, weights)


class _NormedLinear(torch.autograd.Function):
    """x + y (or x), and the product of its norm, which is not kept but computed again."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, scale: Tensor, eps: float, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, out, factors = _sum_and_norm(x, y, scale, eps)
        ctx.save_for_backward(total, scale, factors, *weights)
        ctx.summed = y is not None
        return total, products.linear(out, _joined(weights))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total, scale, factors, *weights = ctx.saved_tensors
        grad = products.product(grads[1], _joined(weights))
        of_weights: Sequence[Tensor | None] = [None] * len(weights)
        if any(ctx.needs_input_grad[4:]):  # not where they are frozen
            normed = norm.rms_norm_again(total, scale, factors)
            of_weights = _weight_grads(grads[1], normed, weights)
        beside = grads[0].contiguous()
        grad_x, grad_scale = norm.rms_norm_backward(grad, total, scale, factors, beside)
        return grad_x, grad_x if ctx.summed else None, grad_scale, None, *of_weights


class _GatedLinear(torch.autograd.Function):
    """The product of the gated unit, which is not kept but computed again."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up, weight)
        return products.linear(gated.swiglu(gate_up), weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gate_up, weight = ctx.saved_tensors
        grad, again = gated.swiglu_backward(products.product(grads[0], weight), gate_up)
        if not ctx.needs_input_grad[1]:
            return grad, None
        return grad, *_weight_grads(grads[0], again, [weight])


def _weight_grads(grad: Tensor, x: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    grad = grad.contiguous()
    # The CPU's product with a transposed matrix is slow; where that is the narrower one, turning it
    # over first costs less than it saves.
    turned = transposed(grad) if _turns(grad, x) else grad.T
    return torch.split(products.product(turned, x), [len(w) for w in weights])


def _turns(grad: Tensor, x: Tensor) -> bool:
    return grad.shape[1] < x.shape[1] and supports(grad) and not products.has_to_widen(grad)


def joined_linear(x: Float[Tensor, "N D"], layers: Sequence[Any]) -> Float[Tensor, "N E"]:
    """The outputs of several layers side by side, in one product where their weights allow it."""
    whole = joined_weight(layers)
    if whole is None:
        return torch.cat([layer(x) for layer in layers], dim=-1)
    if not torch.is_grad_enabled():
        return products.linear(x, whole)
    weights = [layer.weight for layer in layers]
    return _JoinedLinear.apply(x, *weights)  # type: ignore[no-untyped-call,no-any-return]


def normed_linear(
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N D"] | None,
    module: nn.Module,
    layers: Sequence[Any],
    linear: Linear,
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N E"]]:
    """x + y (or x), and what several layers make of its RMS norm by a module of transformers."""
    if not torch.is_grad_enabled() or joined_weight(layers) is None:
        total, out = add_rms_norm(x, y, module)
        return total, linear(out, layers)
    weights = [layer.weight for layer in layers]
    total, out = _NormedLinear.apply(  # type: ignore[no-untyped-call]
        x, y, *_of_norm(module), *weights
    )
    return total, out


def gated_linear(
    gate_up: Float[Tensor, "N I2"], layer: Any, linear: Linear
) -> Float[Tensor, "N D"]:
    """What a layer makes of silu(gate) * up."""
    if not torch.is_grad_enabled() or joined_weight([layer]) is None:
        return linear(swiglu(gate_up), [layer])
    return _GatedLinear.apply(  # type: ignore[no-untyped-call,no-any-return]
        gate_up, layer.weight
    )


def joined_weight(layers: Sequence[Any]) -> Float[Tensor, "E D"] | None:
    """The weights of several layers as one, or None if they do not follow one another."""
    if not all(_plain(layer) for layer in layers):
        return None
    weights = [layer.weight for layer in layers]
    return _joined(weights) if _follow_one_another(weights) else None


def join_weights(layers: Sequence[Any]) -> None:
    """Move the weights of linear layers into one block of memory, one after the other."""
    if not all(_plain(layer) for layer in layers):
        return
    whole = torch.cat([layer.weight.detach() for layer in layers])
    for layer, part in zip(
        layers, torch.split(whole, [len(x.weight) for x in layers]), strict=True
    ):
        layer.weight.data = part


def _plain(layer: Any) -> bool:
    return type(layer) in (nn.Linear, WideLinear) and layer.bias is None


def _follow_one_another(weights: Sequence[Tensor]) -> bool:
    end = weights[0].data_ptr()
    for weight in weights:
        if weight.data_ptr() != end or not weight.is_contiguous():
            return False
        end += weight.numel() * weight.element_size()
    storage = weights[0].untyped_storage()
    return end <= storage.data_ptr() + storage.nbytes()


def _joined(weights: Sequence[Tensor]) -> Tensor:
    rows = sum(len(w) for w in weights)
    return weights[0].detach().as_strided((rows, weights[0].shape[1]), weights[0].stride())
