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
from burnish.kernels.decoder_layer import Weights
from burnish.kernels.numbers import array, torch_multiplies_bfloat16
from burnish.kernels.product import Panels
from burnish.models.fused import joined_linear, joined_weight
from burnish.models.products import linear

Product = Callable[[Tensor], Tensor]
"""Multiplies rows by a weight's transpose."""


class Packed:
    """Packed copies of a decoder's weights and of its head's, by the first layer of a product."""

    def __init__(self, decoder: Any, head: Float[Tensor, "V D"], rows: int) -> None:
        """For products of about `rows` rows."""
        self._found: dict[int, Panels | Product] = {}
        self._room: Tensor | None = None
        self.layers: list[Weights] | None = None
        """Where a decoding step can run layer by layer, each in one call."""
        if head.dtype != torch.bfloat16 or head.device.type != "cpu":
            return
        for layers in (layers for layer in decoder.layers for layers in products_of(layer)):
            weight = joined_weight(layers)
            if weight is not None:
                self._keep(layers[0], weight, rows)
        self._keep(head, head, rows)
        whole = [self._weights(layer) for layer in decoder.layers]
        if None not in whole:
            self.layers = [weights for weights in whole if weights is not None]

    def linear(self, x: Float[Tensor, "N D"], layers: Sequence[Any]) -> Float[Tensor, "N E"]:
        """What `joined_linear` gives."""
        found = self._found.get(id(layers[0]))
        return joined_linear(x, layers) if found is None else _multiplied(found, x)

    def logits(self, hidden: Float[Tensor, "N D"], head: Float[Tensor, "V D"]) -> Tensor:
        """h W^T of the head, which may be written over by the next call: twenty megabytes that are
        freed and asked for again in each step leave a hole in memory each time."""
        found = self._found.get(id(head))
        if not isinstance(found, Panels):
            return linear(hidden, head) if found is None else found(hidden)
        if self._room is None or len(self._room) < len(hidden):
            self._room = hidden.new_empty(len(hidden), found.outputs)
        return product.product(found, hidden, self._room[: len(hidden)])

    def _keep(self, key: object, weight: Tensor, rows: int) -> None:
        packed = _pack(weight.detach(), rows)
        if packed is not None:
            self._found[id(key)] = packed

    def _weights(self, layer: Any) -> Weights | None:
        """A layer's, where all of its products are loops of ours and nothing is between them that
        these do not know: norms of queries and keys."""
        attention = layer.self_attn
        found = [self._found.get(id(layers[0])) for layers in products_of(layer)]
        qkv, o, gate_up, down = (x if isinstance(x, Panels) else None for x in found)
        if qkv is None or o is None or gate_up is None or down is None:
            return None
        if "q_norm" in attention._modules:
            return None
        first, second = layer.input_layernorm, layer.post_attention_layernorm
        return Weights(
            first_norm=array(first.weight),
            qkv=qkv,
            o=o,
            second_norm=array(second.weight),
            gate_up=gate_up,
            down=down,
            first_eps=first.variance_epsilon,
            second_eps=second.variance_epsilon,
            scale=attention.scaling,
        )


def products_of(layer: Any) -> Iterator[list[Any]]:
    """What a decoder layer multiplies by: the linear layers that share a product, in order."""
    attention, unit = layer.self_attn, layer.mlp
    yield [attention.q_proj, attention.k_proj, attention.v_proj]
    yield [attention.o_proj]
    yield [unit.gate_proj, unit.up_proj]
    yield [unit.down_proj]


def _multiplied(packed: Panels | Product, x: Tensor) -> Tensor:
    return product.product(packed, x) if isinstance(packed, Panels) else packed(x)


def _pack(weight: Tensor, rows: int) -> Panels | Product | None:
    form = product.form_here()
    if form is not None and product.fits(weight, form):
        return product.pack(weight, form)
    if not torch_multiplies_bfloat16():
        return None
    return partial(_by_torch, torch.ops.mkldnn._reorder_linear_weight(weight, rows))


def _by_torch(packed: Tensor, x: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    return out
