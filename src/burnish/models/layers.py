"""The decoder layers of the Llama family, run in few steps on the CPU.

Definitions stay transformers': weights, rotary frequencies, norms and adapters are its modules, and
`check_model` compares what comes out with transformers' own forward pass whenever a model is
opened. What changes is the way through a layer: queries, keys and values in one product, sums with
the norms after them, both halves of the gated unit at once, and no Python between them but this.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from burnish.kernels.decoder_layer import Place, Weights, decoder_layer
from burnish.kernels.heads import NARROW
from burnish.kernels.numbers import array, follow_torch_threads, supports
from burnish.models.attention import Decoding, Layout, require_full_attention
from burnish.models.fused import (
    Linear,
    add_rms_norm,
    embedding,
    gated_linear,
    join_weights,
    joined_linear,
    normed_linear,
)
from burnish.models.tree_attention import Angles

FAMILY = frozenset({"LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model"})
"""Decoders whose layers are: norm, attention with rotary positions (and norms of queries and
keys in Qwen 3), sum, norm, gated unit, sum."""


def runs_here(decoder: Any) -> bool:
    """Whether this file can run the model: of the family, on the CPU, in bfloat16 or float32, with
    heads of a size that the loops take."""
    return (
        type(decoder).__name__ in FAMILY
        and decoder.layers[0].self_attn.head_dim % NARROW == 0
        and decoder.config.hidden_act == "silu"
        and supports(decoder.embed_tokens.weight)
    )


def join_layers(decoder: Any) -> None:
    """Put the weights that are multiplied together beside each other in memory."""
    for layer in decoder.layers:
        attention, unit = layer.self_attn, layer.mlp
        join_weights([attention.q_proj, attention.k_proj, attention.v_proj])
        join_weights([unit.gate_proj, unit.up_proj])


def last_hidden(
    decoder: Any,
    tokens: Int[Tensor, "rows columns"],
    layout: Layout,
    linear: Linear = joined_linear,
) -> Float[Tensor, "rows columns D"]:
    """What the decoder's own forward pass would give under the layout."""
    follow_torch_threads()
    x = embedding(decoder.embed_tokens, tokens.flatten())
    cos, sin = decoder.rotary_emb(x, layout.position_ids)
    angles = cos.flatten(0, 1).contiguous(), sin.flatten(0, 1).contiguous()
    y = None
    for layer in decoder.layers:
        attention, unit = layer.self_attn, layer.mlp
        heads = [attention.q_proj, attention.k_proj, attention.v_proj]
        x, qkv = normed_linear(x, y, layer.input_layernorm, heads, linear)
        y = _attention(attention, qkv, angles, layout, linear)
        halves = [unit.gate_proj, unit.up_proj]
        x, both = normed_linear(x, y, layer.post_attention_layernorm, halves, linear)
        y = gated_linear(both, unit.down_proj, linear)
    _, out = add_rms_norm(x, y, decoder.norm)
    return out.view(*tokens.shape, -1)


def decoded_hidden(
    decoder: Any,
    tokens: Int[Tensor, "rows 1"],
    layout: Decoding,
    weights: Sequence[Weights],
) -> Float[Tensor, "rows 1 D"]:
    """What `last_hidden` gives of one new token a row, to the bit, in one call a layer."""
    follow_torch_threads()
    embedded = embedding(decoder.embed_tokens, tokens.flatten())
    cos, sin = decoder.rotary_emb(embedded, layout.position_ids)
    place = Place(
        cos=array(cos.flatten(0, 1).contiguous()),
        sin=array(sin.flatten(0, 1).contiguous()),
        positions=layout.position_ids[:, 0].contiguous().numpy(),
    )
    x, y = array(embedded), None
    for layer, own in zip(decoder.layers, weights, strict=True):
        require_full_attention(layer.self_attn, layout)
        keys, values = layout.store.layer(layer.self_attn.layer_idx)
        x, y = decoder_layer(x, y, own, place, array(keys), array(values))
    total, added = (torch.from_numpy(part).view(embedded.dtype) for part in (x, y))
    _, out = add_rms_norm(total, added, decoder.norm)
    return out.view(*tokens.shape, -1)


def _attention(
    module: Any, qkv: Float[Tensor, "N E"], angles: Angles, layout: Layout, linear: Linear
) -> Float[Tensor, "N D"]:
    require_full_attention(module, layout)
    qkv = qkv.view(len(qkv), -1, module.head_dim)
    heads = module.config.num_attention_heads
    groups = (qkv.shape[1] - heads) // 2
    if "q_norm" in module._modules:
        parts = torch.split(qkv, [heads, groups, groups], dim=1)
        qkv = torch.cat([module.q_norm(parts[0]), module.k_norm(parts[1]), parts[2]], dim=1)
    mixed = layout.attend_joined(module.layer_idx, qkv, heads, angles, module.scaling)
    return linear(mixed.flatten(1), [module.o_proj])
