"""Weights in the order that the CPU's bfloat16 products want, for sampling.

A product of a few rows spends as long on bringing the weights into that order as on multiplying.
While sampling they do not change, so it is done once for a call. The product is
`burnish.kernels.product`'s where that has a form for the processor, else torch's.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from burnish.kernels import product
from burnish.kernels.numbers import torch_multiplies_bfloat16
from burnish.models.fused import joined_linear, joined_weight
from burnish.models.products import linear

Product = Callable[[Tensor], Tensor]
"""Multiplies rows by a weight's transpose."""


class Packed:
    """Packed copies of a decoder's weights and of its head's, by the first layer of a product."""

    def __init__(self, decoder: Any, head: Float[Tensor, "V D"], rows: int) -> None:
        """For products of about `rows` rows."""
        self._by_layer: dict[int, Product] = {}
        if head.dtype != torch.bfloat16 or head.device.type != "cpu":
            return
        for layers in _products(decoder):
            weight = joined_weight(layers)
            if weight is not None:
                self._keep(layers[0], weight, rows)
        self._keep(head, head, rows)

    def linear(self, x: Float[Tensor, "N D"], layers: Sequence[Any]) -> Float[Tensor, "N E"]:
        """What `joined_linear` gives."""
        found = self._by_layer.get(id(layers[0]))
        return joined_linear(x, layers) if found is None else found(x)

    def logits(self, hidden: Float[Tensor, "N D"], head: Float[Tensor, "V D"]) -> Tensor:
        """h W^T of the head."""
        found = self._by_layer.get(id(head))
        return linear(hidden, head) if found is None else found(hidden)

    def _keep(self, key: object, weight: Tensor, rows: int) -> None:
        packed = _pack(weight.detach(), rows)
        if packed is not None:
            self._by_layer[id(key)] = packed


def _products(decoder: Any) -> Iterator[list[Any]]:
    for layer in decoder.layers:
        attention, unit = layer.self_attn, layer.mlp
        yield [attention.q_proj, attention.k_proj, attention.v_proj]
        yield [attention.o_proj]
        yield [unit.gate_proj, unit.up_proj]
        yield [unit.down_proj]


def _pack(weight: Tensor, rows: int) -> Product | None:
    form = product.form_here()
    if form is not None and product.fits(weight, form):
        return partial(product.product, product.pack(weight, form))
    if not torch_multiplies_bfloat16():
        return None
    return partial(_by_torch, torch.ops.mkldnn._reorder_linear_weight(weight, rows))


def _by_torch(packed: Tensor, x: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    return out
