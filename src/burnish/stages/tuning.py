"""What every stage is told that trains a model on a fixed set of rows."""

from dataclasses import dataclass, replace
from typing import TypeVar

from burnish.config import require_counts
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.pipeline.artifact import ModelRef

_Own = TypeVar("_Own", bound="Tuning")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Base of such stages; not one itself."""

    model: ModelRef
    """What it starts from."""
    passes: Passes
    optim: Optim
    max_tokens: int = 1024
    """Rows with more, and those beyond the model's context, are dropped and counted."""
    micro_tokens: int = 2048
    """Tokens multiplied at one time."""
    lora: LoRA | None = None
    precision: Precision = "bfloat16"
    checkpoint_s: float = 120.0
    """Seconds between checkpoints."""

    def __post_init__(self) -> None:
        require_counts(self, "max_tokens", "micro_tokens")

    def scaled(self: _Own, factor: float) -> _Own:
        """With about `factor` of the passes."""
        return replace(self, passes=self.passes.scaled(factor))
