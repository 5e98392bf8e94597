"""What every stage is told that trains a model on a fixed set of rows."""

from dataclasses import dataclass, replace
from typing import TypeVar

from burnish.config import require_counts
from burnish.engine.memory import Held
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.pipeline.artifact import ModelRef
from burnish.pipeline.forecast import Texts
from burnish.pipeline.stage import Work

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

    def training_work(self, texts: Texts, steps: int) -> Work:
        """Of so many steps over rows such as these: prompts with all their completions."""
        rows = min(steps * self.passes.batch_rows, self.passes.epochs * texts.num_rows)
        return Work(
            trained_tokens=rows * texts.tree_tokens,
            optimizer_steps=steps,
            opened=2,
        )

    def tuning_held(self, texts: Texts | None) -> list[Held]:
        """What is open in a step; where its rows are not known, one that fills micro_tokens."""
        return [
            Held(
                models=(self.model,),
                trained=self.model,
                lora_rank=None if self.lora is None else self.lora.rank,
                step_tokens=self.micro_tokens
                if texts is None
                else self.passes.batch_rows * texts.tree_tokens,
                micro_tokens=self.micro_tokens,
                gradients=True,
                full_precision=self.precision == "float32",
            )
        ]

    def scaled(self: _Own, factor: float) -> _Own:
        """With about `factor` of the passes."""
        return replace(self, passes=self.passes.scaled(factor))
