"""What a pass through a language model costs at the least, counted from its shape.

Only matrix products count, and each once: what is computed a second time (logits, in the backward
pass) or besides (norms, softmax, rotations) shows as time, not as work. Of a mixture of experts
every expert would be counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from burnish.models.policy import head_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The sizes of a decoder that decide its cost."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    body: int
    """Parameters of the matrices below the head: each multiplies every token."""
    head: int
    """Parameters of the language-model head: it multiplies predicting tokens only."""

    @classmethod
    def of(cls, model: nn.Module) -> "Shape":
        """Of a causal language model. An input embedding is looked up, so it costs nothing unless
        it is the head too."""
        config, head = model.config, head_weight(model)
        more = config.to_dict()  # type: ignore[operator,union-attr]
        heads = int(config.num_attention_heads)  # type: ignore[union-attr,arg-type]
        return cls(
            layers=int(config.num_hidden_layers),  # type: ignore[union-attr,arg-type]
            heads=heads,
            kv_heads=more.get("num_key_value_heads") or heads,
            head_size=more.get("head_dim") or head.shape[1] // heads,
            body=sum(rows * columns for rows, columns in body_matrices(model)),
            head=head.numel(),
        )

    @property
    def matrices(self) -> int:
        """Parameters that multiply: the N of "6 N a token"."""
        return self.body + self.head

    def forward_flops(self, *, tokens: int, predicting: int, attended: int) -> int:
        """2 body tokens + 2 head predicting + 4 layers heads head_size attended.

        `attended` sums over the tokens how many each of them sees, itself included: each is worth
        a multiplication and an addition in the scores, and again in the sum of the values.
        """
        products = 2 * self.body * tokens + 2 * self.head * predicting
        return products + 4 * self.layers * self.heads * self.head_size * attended

    def training_flops(self, *, tokens: int, predicting: int, attended: int) -> int:
        """Forwards, and twice that backwards: a product each for inputs and for weights."""
        return 3 * self.forward_flops(tokens=tokens, predicting=predicting, attended=attended)

    def kv_elements(self, entries: int) -> int:
        """Numbers in the keys and values of so many tokens."""
        return 2 * self.layers * self.kv_heads * self.head_size * entries


def body_matrices(model: nn.Module) -> list[tuple[int, int]]:
    """The shape of each matrix below the head that is multiplied."""
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    apart = looked_up | {id(head_weight(model))}
    return [
        (p.shape[0], p.shape[1]) for p in model.parameters() if p.dim() == 2 and id(p) not in apart
    ]


def attended(stem: int, branches: Sequence[int]) -> int:
    """How many tokens those of a tree see, summed: the stem and each branch causally, and each
    branch the whole stem."""
    own = sum(length * (length + 1) // 2 for length in (stem, *branches))
    return own + stem * sum(branches)
