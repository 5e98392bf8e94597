"""A smaller model of the same family: the first layers of a larger one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.config import require_counts
from burnish.engine.text_model import TextModel
from burnish.models.depth import keep_layers
from burnish.models.load import Precision
from burnish.pipeline.artifact import ModelRef
from burnish.pipeline.stage import Context


@dataclass(frozen=True, kw_only=True)
class Shorten:
    """Model -> model of its first layers, for reward models of several sizes.

    Gao et al. (2022, 2210.10760) vary the size of the reward model with a family of models. Where
    there is one model only, its lower layers serve: a head on them is trained together with them.
    """

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    model: ModelRef
    num_layers: int
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_layers")

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, ctx.device)
        keep_layers(text.model, self.num_layers)
        text.save(ctx.output("model"))
        ctx.tally("layers", self.num_layers)
