"""What a training stage had in memory, as one of its tallies."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from burnish.models.census import CENSUS
from burnish.pipeline.stage import Context

S = TypeVar("S")

MODELS_HELD = "models held at once"


def recording_models(run: Callable[[S, Context], None]) -> Callable[[S, Context], None]:
    """A stage's `run` that tallies the most models it had open at one time, as it counted them."""

    @wraps(run)
    def counted(self: S, ctx: Context) -> None:
        CENSUS.begin()
        run(self, ctx)
        ctx.tally(MODELS_HELD, CENSUS.most)

    return counted
