"""Weights in the order that the CPU's bfloat16 products want, for sampling.

A product of a few rows spends as long on bringing the weights into that order as on multiplying.
While sampling they do not change, so it is done once for a call. Where the processor multiplies
pairs of bfloat16 and has no units for matrices, the product is `burnish.kernels.product`'s, else
torch's.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from burnish.kernels import product
from burnish.models.fused import joined_linear, joined_weight

Product = Callable[[Tensor], Tensor]
"""Multiplies rows by a weight's transpose."""


class Packed:
    """Packed copies of a decoder's weights and of its head's, by the first layer of a product."""

    def __init__(self, decoder: Any, head: Float[Tensor, "V D"], rows: int) -> None:
        """For products of about `rows` rows."""
        self._by_layer: dict[int, Product] = {}
        if not _packs(head):
            return
        for layers in _products(decoder):
            weight = joined_weight(layers)
            if weight is not None:
                self._by_layer[id(layers[0])] = _pack(weight, rows)
        self._by_layer[id(head)] = _pack(head, rows)

    def linear(self, x: Float[Tensor, "N D"], layers: Sequence[Any]) -> Float[Tensor, "N E"]:
        """What `joined_linear` gives."""
        found = self._by_layer.get(id(layers[0]))
        return joined_linear(x, layers) if found is None else found(x)

    def logits(self, hidden: Float[Tensor, "N D"], head: Float[Tensor, "V D"]) -> Tensor:
        """h W^T of the head."""
        found = self._by_layer.get(id(head))
        return nn.functional.linear(hidden, head) if found is None else found(hidden)


def _packs(weight: Tensor) -> bool:
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _products(decoder: Any) -> Iterator[list[Any]]:
    for layer in decoder.layers:
        attention, unit = layer.self_attn, layer.mlp
        yield [attention.q_proj, attention.k_proj, attention.v_proj]
        yield [attention.o_proj]
        yield [unit.gate_proj, unit.up_proj]
        yield [unit.down_proj]


def _pack(weight: Tensor, rows: int) -> Product:
    weight = weight.detach()
    if product.fits_processor() and product.fits(weight):
        return partial(product.product, product.pack(weight))
    return partial(_by_torch, torch.ops.mkldnn._reorder_linear_weight(weight, rows))


def _by_torch(packed: Tensor, x: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    return out
