"""The one attention function that Burnish registers with transformers.

Model definitions stay Hugging Face's. What changes is how tokens are laid out: documents stand end
to end in one row, so that linear layers, norms and the head never multiply padding, documents
cannot see each other, and completions of one prompt share its tokens. Attention itself either reads
the row as it is (`varlen`, in bfloat16 on a GPU) or unpacks it to `[trees, longest]`, which costs
little beside the linear layers: trees of about one length together, so that what a tree is padded
to, and how its attention rounds, is its own and not its neighbours'. While sampling, the same
function reads and writes the key-value store of the sampler.

A model is opened with `attn_implementation="burnish"` and called with `layout=` as a keyword, which
transformers hands down to every attention layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from burnish.errors import ModelError
from burnish.kernels.decode import decode
from burnish.kernels.rotary import turn
from burnish.models import varlen
from burnish.models.key_values import KeyValueStore
from burnish.models.padding import Padded, num_tokens, rounded_up
from burnish.models.tree_attention import Angles, tree_attention

NAME = "burnish"


class Layout(Protocol):
    """How the tokens of one forward pass lie, and what each may attend to."""

    @property
    def position_ids(self) -> Int[Tensor, "rows columns"]:
        """Position of each token in its own document."""

    @property
    def reach(self) -> int:
        """Tokens of the longest document."""

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows heads columns size"],
        key: Float[Tensor, "rows kv_heads columns size"],
        value: Float[Tensor, "rows kv_heads columns size"],
        scaling: float,
    ) -> Float[Tensor, "rows columns heads size"]:
        """Attention within documents."""

    def attend_joined(
        self,
        layer: int,
        qkv: Float[Tensor, "N heads2 size"],
        heads: int,
        angles: Angles,
        scaling: float,
    ) -> Float[Tensor, "N heads size"]:
        """The same by compiled loops, for tokens in a row with heads that are not turned yet:
        `heads` of queries, then keys, then values."""


@dataclass(frozen=True)
class Ragged:
    """Trees end to end in one row, `[1, total]`: a stem that several branches continue.

    A plain document is a tree with one branch. A branch sees the stem and itself, at the positions
    it would have had alone, so a prompt shared by a group is computed once, forwards and backwards.

    In exact arithmetic a tree's numbers do not depend on the others in the row, and in attention
    they do not by rounding either. But the CPU's bfloat16 kernels for linear layers sum in an order
    that follows from the number of tokens in the row: between a tree scored alone and among others,
    SmolLM2's log-probability of a token differs by .05 nats on average and by up to .4, in whatever
    format attention runs. Only the same row gives the same numbers, to the bit.
    """

    trees: tuple[tuple[int, Sequence[int]], ...]
    position_ids: Int[Tensor, "1 total"]
    reach: int
    store: KeyValueStore | None = None
    copies: tuple[tuple[int, ...], ...] = ()
    """For each tree, the slots of the store that receive its keys and values."""

    @classmethod
    def of(
        cls,
        trees: Sequence[tuple[int, Sequence[int]]],
        device: torch.device,
        *,
        store: KeyValueStore | None = None,
        copies: tuple[tuple[int, ...], ...] = (),
    ) -> "Ragged":
        """The layout of trees given as (length of the stem, lengths of the branches)."""
        positions = [
            torch.arange(start, start + length)
            for stem, branches in trees
            for start, length in [(0, stem), *((stem, branch) for branch in branches)]
        ]
        return cls(
            trees=tuple(trees),
            position_ids=torch.cat(positions)[None].to(device),
            reach=max(stem + max(branches, default=0) for stem, branches in trees),
            store=store,
            copies=copies,
        )

    @cached_property
    def _starts(self) -> list[int]:
        """Where each tree starts in the row, and where the last one ends."""
        return [0, *accumulate(num_tokens(tree) for tree in self.trees)]

    @property
    def lasts(self) -> list[int]:
        """Place of each tree's last token in the row."""
        return [end - 1 for end in self._starts[1:]]

    @cached_property
    def batches(self) -> tuple[Padded, ...]:
        """The trees unpacked, those of about one length together."""
        alike: dict[tuple[int, bool], list[int]] = {}
        for number, tree in enumerate(self.trees):
            # What branches is apart, because a mask may choose another kernel.
            kind = rounded_up(num_tokens(tree)), len(tree[1]) > 1
            alike.setdefault(kind, []).append(number)
        return tuple(
            Padded.of(
                [self.trees[n] for n in numbers],
                [self._starts[n] for n in numbers],
                self.position_ids.device,
            )
            for numbers in alike.values()
        )

    @cached_property
    def _order(self) -> Int[Tensor, " total"]:
        """Where each token is among those of the batches."""
        return torch.cat([batch.tokens for batch in self.batches]).argsort()

    @cached_property
    def _segments(self) -> varlen.Segments:
        """The trees in the row as they are."""
        return varlen.Segments.of(self.trees, self.position_ids.device)

    def _keep(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Put keys and values, `[kv_heads, total, size]`, into the store if there is one."""
        if self.store is None:
            return
        for (start, end), slots in zip(pairwise(self._starts), self.copies, strict=True):
            for slot in slots:
                self.store.write(layer, slot, key[:, start:end], value[:, start:end])

    def attend_joined(
        self, layer: int, qkv: Tensor, heads: int, angles: Angles, scaling: float
    ) -> Tensor:
        if self.store is None:
            return tree_attention(qkv, heads, angles, self.batches, scaling)
        groups = (qkv.shape[1] - heads) // 2
        turn(qkv, heads + groups, angles)
        parts = qkv[:, heads:].transpose(0, 1)
        self._keep(layer, parts[:groups], parts[groups:])
        return tree_attention(qkv, heads, None, self.batches, scaling)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        self._keep(layer, key[0], value[0])
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        if varlen.supports(q):
            return varlen.varlen_attention(q, k, v, self._segments, scaling)[None]
        sampling = self.store is not None
        parts = [batch.attend(q, k, v, scaling, sampling) for batch in self.batches]
        if len(parts) == 1:
            return parts[0][None]
        return torch.cat(parts).index_select(0, self._order)[None]


@dataclass(frozen=True)
class Decoding:
    """One new token for each of the first `rows` slots of a store: `[rows, 1]`."""

    store: KeyValueStore
    position_ids: Int[Tensor, "rows 1"]
    reach: int
    """More than the largest of the positions: so much of the store is read."""

    @cached_property
    def _slots(self) -> Int[Tensor, " rows"]:
        return torch.arange(len(self.position_ids), device=self.position_ids.device)

    @cached_property
    def _visible(self) -> Bool[Tensor, "rows reach"]:
        """True where a slot's entry belongs to its row, the new token's own included."""
        return torch.arange(self.reach, device=self.position_ids.device) <= self.position_ids

    def attend_joined(
        self, layer: int, qkv: Tensor, heads: int, angles: Angles, scaling: float
    ) -> Tensor:
        out = qkv.new_empty(len(qkv), heads, qkv.shape[2])
        keys, values = self.store.layer(layer)
        decode(qkv, angles, keys, values, self.position_ids[:, 0].contiguous(), scaling, out)
        return out

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        rows, heads, _, size = query.shape
        kv_heads, reach = key.shape[1], self.reach
        positions = self.position_ids[:, 0]
        keys, values = self.store.layer(layer)
        keys[self._slots, :, positions] = key[:, :, 0]
        values[self._slots, :, positions] = value[:, :, 0]
        # Query heads that share a key head become query positions: nothing is repeated.
        grouped = query.view(rows, kv_heads, heads // kv_heads, size)
        out = scaled_dot_product_attention(
            grouped,
            keys[:rows, :, :reach],
            values[:rows, :, :reach],
            attn_mask=self._visible[:, None, None, :],
            scale=scaling,
        )
        return out.reshape(rows, 1, heads, value.shape[-1])


def require_full_attention(module: nn.Module, layout: Layout) -> None:
    """Refuse a layer whose window is shorter than the longest document.

    Raises:
        ModelError: names the layer and both lengths.
    """
    # A layer says so itself where layers differ, and the config where they do not.
    own = vars(module)
    window = own.get("sliding_window", vars(own["config"]).get("sliding_window"))
    _require_reach(type(module).__name__, window, layout)


def _require_reach(name: str, sliding_window: int | None, layout: Layout) -> None:
    if sliding_window is not None and layout.reach > sliding_window:
        raise ModelError(
            f"{name} sees a window of {sliding_window} tokens, and a document has {layout.reach}: "
            "Burnish computes full attention only; use shorter documents, or another model"
        )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """transformers' attention interface; `layout` arrives as a keyword of the model's call.

    Raises:
        ModelError: the layer is more than plain attention over the whole document.
    """
    del attention_mask
    name = type(module).__name__
    if softcap is not None or s_aux is not None:
        what = "caps its scores" if softcap is not None else "has attention sinks"
        raise ModelError(f"{name} {what}, which Burnish does not support yet")
    _require_reach(name, sliding_window, layout)
    layer = module.layer_idx
    assert isinstance(layer, int)
    return layout.attend(layer, query, key, value, scaling), None


# Without an entry for masks beside it: the layout masks, so transformers shall neither build a mask
# nor look through the positions for documents, for which it would wait for a GPU.
AttentionInterface.register(NAME, _attention)
