"""Trees of about one length, padded to attend to themselves at one time.

What a tree is padded to, and in which format its attention runs, decides how its numbers round.
Both follow from the tree's own length here, so that its neighbours have no say in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from burnish.models.products import has_to_widen

ROUND = 32
"""Tokens: trees whose length is the same in multiples of this attend together."""
SHORT = 256
"""Trees up to this long run their attention in float32 on a CPU, except while sampling."""


def num_tokens(tree: tuple[int, Sequence[int]]) -> int:
    """Tokens of a tree, given as (length of the stem, lengths of the branches)."""
    return tree[0] + sum(tree[1])


def rounded_up(size: int) -> int:
    """What a tree of so many tokens is padded to."""
    return -(-size // ROUND) * ROUND


@dataclass(frozen=True, slots=True)
class Padded:
    """Trees of about one length, that attend at one time as `[trees, longest]`."""

    trees: int
    longest: int
    """Their length rounded up: it does not depend on which of them are here."""
    tokens: Int[Tensor, " n"]
    """Their tokens' places in the row."""
    places: Int[Tensor, " n"]
    """Index of each token in the flattened `[trees * longest]`."""
    forks: Int[Tensor, "trees longest"]
    """A token sees the entries before its fork (its stem, if it is in a branch), and"""
    starts: Int[Tensor, "trees longest"]
    """those from its start on (its branch's first) up to itself; padding sees itself only."""
    bias: Float[Tensor, "trees 1 longest longest"] | None
    """0 where a token sees another and -inf elsewhere; None: no tree branches, and plain causality
    is all."""

    @classmethod
    def of(
        cls,
        trees: Sequence[tuple[int, Sequence[int]]],
        starts: Sequence[int],
        device: torch.device,
    ) -> "Padded":
        """A batch of trees, given as in `Ragged.of`, that start at these places of the row."""
        sizes = [num_tokens(tree) for tree in trees]
        longest = rounded_up(max(sizes))
        used = torch.arange(longest) < torch.tensor(sizes)[:, None]
        forks = torch.zeros(len(trees), longest, dtype=torch.int32)
        begins = torch.arange(longest, dtype=torch.int32).repeat(len(trees), 1)
        for row, (stem, branches) in enumerate(trees):
            lengths = torch.tensor([stem, *branches])
            first = lengths.cumsum(0) - lengths
            begins[row, : sizes[row]] = torch.repeat_interleave(first, lengths)
            forks[row, stem : sizes[row]] = stem
        bias = None
        if any(len(branches) > 1 for _, branches in trees):
            columns = torch.arange(longest)
            own = (columns >= begins[..., None]) & (columns <= columns[:, None])
            hidden = ~(own | (columns < forks[..., None]))
            bias = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))[:, None]
        flat = [torch.arange(s, s + n) for s, n in zip(starts, sizes, strict=True)]
        return cls(
            trees=len(trees),
            longest=longest,
            tokens=torch.cat(flat).to(device),
            places=used.flatten().nonzero()[:, 0].to(device),
            forks=forks.to(device),
            starts=begins.to(device),
            bias=None if bias is None else bias.to(device, torch.bfloat16),
        )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float, sampling: bool
    ) -> Float[Tensor, "n heads size"]:
        """Attention of these trees' tokens, which are picked from `[total, heads, size]`."""
        q, k, v = (self._unpack(x) for x in (query, key, value))
        dtype = q.dtype
        short = self.longest <= SHORT and not sampling
        if has_to_widen(q) or (short and dtype == torch.bfloat16 and q.device.type == "cpu"):
            # The CPU's bfloat16 backward is three times slower than float32's on short trees.
            # Scoring without a gradient rounds alike: ratios between the two must be exactly 1.
            q, k, v = q.float(), k.float(), v.float()
        # Padding stands after each tree's end, so causality alone hides it.
        out = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if self.bias is None else self.bias.to(q.dtype),
            is_causal=self.bias is None,
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        flat = out.to(dtype).transpose(1, 2).reshape(-1, out.shape[1], out.shape[3])
        return flat.index_select(0, self.places)

    def _unpack(self, flat: Float[Tensor, "total heads size"]) -> Tensor:
        own = flat if len(self.tokens) == len(flat) else flat.index_select(0, self.tokens)
        count, heads, size = own.shape
        if count < self.trees * self.longest:
            padded = own.new_zeros(self.trees * self.longest, heads, size)
            own = padded.index_copy(0, self.places, own)
        return own.view(self.trees, self.longest, heads, size).transpose(1, 2)
