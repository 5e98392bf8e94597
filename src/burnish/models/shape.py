"""The shape of a decoder: what memory, time and disk follow from, without its weights.

A recipe of the literature names models that a laptop neither has nor can hold. With their shape in
the recipe it can still be said what a stage would take. Counted are dense decoders with a square
attention; of others (mixtures of experts, latent attention) the published totals are given.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Self

from burnish.config import require, require_counts
from burnish.errors import ConfigError, ModelError

PLAIN_MLPS = ("gpt2", "gpt_neo", "gpt_neox", "opt", "nemotron", "phi", "starcoder2")
"""`model_type` of decoders whose MLP has two matrices; the others here have three."""

_ALIASES = {"num_kv_heads": "kv_heads", "head_size": "head_width"}
"""Fields that may be left out -> what they come to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """Sizes as a config.json states them."""

    hidden_size: int
    num_layers: int
    num_heads: int
    vocab_size: int
    intermediate_size: int
    """Width of the MLP; of one expert in a mixture."""
    context: int
    """Tokens."""
    num_kv_heads: int | None = None
    """None: as many as heads."""
    head_size: int | None = None
    """None: hidden_size / num_heads."""
    tied_head: bool = False
    """Whether the head is the input embedding."""
    mlp: Literal["gated", "plain"] = "gated"
    """gated: three matrices (SwiGLU); plain: two."""
    total_params: int | None = None
    """Stated where the sizes above do not give it, as for a mixture of experts."""
    active_params: int | None = None
    """Those that one token goes through; None: all."""

    def __post_init__(self) -> None:
        counts = ("hidden_size", "num_layers", "num_heads", "vocab_size", "intermediate_size")
        require_counts(self, *counts, "context", "num_kv_heads", "head_size")
        require_counts(self, "total_params", "active_params")
        require(
            self.head_size is not None or self.hidden_size % self.num_heads == 0,
            "head_size must be given: num_heads does not divide hidden_size",
        )
        require(
            self.num_heads % self.kv_heads == 0,
            f"num_kv_heads must divide num_heads ({self.num_heads})",
        )
        require(
            self.active_params is None or self.active_params <= self.num_params,
            "active_params must be at most total_params",
        )

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def head_width(self) -> int:
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def layer_params(self) -> int:
        """Weights of one layer: four projections, the MLP, two norms; biases are not counted."""
        width, inner = self.hidden_size, self.num_heads * self.head_width
        attention = 2 * width * inner + 2 * width * self.kv_heads * self.head_width
        matrices = 3 if self.mlp == "gated" else 2
        return attention + matrices * width * self.intermediate_size + 2 * width

    @property
    def num_params(self) -> int:
        """All weights: total_params where it is stated, else counted from the sizes."""
        if self.total_params is not None:
            return self.total_params
        embeddings = (1 if self.tied_head else 2) * self.vocab_size * self.hidden_size
        return embeddings + self.num_layers * self.layer_params + self.hidden_size

    @property
    def kv_values_per_token(self) -> int:
        """Numbers that one token leaves in the cache of keys and values, over all layers."""
        return 2 * self.num_layers * self.kv_heads * self.head_width

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of the model in a Hugging Face directory; its config.json is all that is looked at.

        Raises:
            ModelError: it is missing or damaged, or lacks a size.
        """
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            sizes = config.to_dict()
            return cls(
                hidden_size=config.hidden_size,
                num_layers=config.num_hidden_layers,
                num_heads=config.num_attention_heads,
                num_kv_heads=sizes.get("num_key_value_heads"),
                head_size=sizes.get("head_dim"),
                intermediate_size=config.intermediate_size,
                vocab_size=config.vocab_size,
                context=config.max_position_embeddings,
                tied_head=config.tie_word_embeddings,
                mlp="plain" if config.model_type in PLAIN_MLPS else "gated",
            )
        except (OSError, ValueError, AttributeError, ConfigError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"{folder}: its config.json gives no shape ({reason})") from error


def check_shape(said: ModelShape, folder: Path) -> None:
    """Refuse a model that is not what a recipe says it is.

    Raises:
        ModelError: names the sizes that differ.
    """
    found = ModelShape.read(folder)
    stated = ("total_params", "active_params")  # no config.json has them
    sizes = [f.name for f in fields(said) if f.name not in (*stated, *_ALIASES)]
    pairs = {
        name: (getattr(said, name), getattr(found, name)) for name in (*sizes, *_ALIASES.values())
    }
    wrong = [f"{k} is {there}, not {here}" for k, (here, there) in pairs.items() if here != there]
    if wrong:
        raise ModelError(f"{folder}: not the shape that the recipe gives: {'; '.join(wrong)}")
