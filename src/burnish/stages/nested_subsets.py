"""Demonstrations in nested portions: how many of them does it take?"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from burnish import rng
from burnish.config import require
from burnish.data.store import read_conversations, write_conversations
from burnish.errors import DataError
from burnish.pipeline.artifact import ConversationsRef
from burnish.pipeline.stage import Context


@dataclass(frozen=True, kw_only=True)
class NestedSubsets:
    """Conversations -> random portions, each within the next: `first_10`, `first_30` and so on."""

    conversations: ConversationsRef
    sizes: tuple[int, ...]
    """From the smallest portion to the largest."""

    def __post_init__(self) -> None:
        require(bool(self.sizes), "sizes must name at least one")
        rising = all(a < b for a, b in pairwise(self.sizes))
        require(rising and self.sizes[0] >= 1, "sizes must rise, from at least 1")

    @property
    def outputs(self) -> Mapping[str, str]:
        return {f"first_{size}": "conversations" for size in self.sizes}

    def run(self, ctx: Context) -> None:
        rows = read_conversations(ctx.input(self.conversations))
        if self.sizes[-1] > len(rows):
            raise DataError(
                f"sizes={list(self.sizes)}: there are {len(rows)} conversations; ask for no more"
            )
        order = rng.stream(ctx.seed, "portions").permutation(len(rows))
        for size in self.sizes:
            write_conversations(ctx.output(f"first_{size}"), [rows[i] for i in order[:size]])
        ctx.tally("conversations to choose from", len(rows))
