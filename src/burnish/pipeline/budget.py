"""Makes a recipe fit a span of time: fewer steps in the stages that can have fewer.

The estimate is Work (tokens a stage expects to sample, train on and score) over measured speeds.
One factor scales all sized stages alike, so that the comparison between them stays fair.
"""

from dataclasses import dataclass, replace

from burnish.config import require
from burnish.errors import ConfigError
from burnish.pipeline.progress import duration
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.stage import Sized, Work

_HALVINGS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """Tokens a second that this machine samples (once a prompt was read), trains on and scores,
    beside the seconds that are spent whatever their number."""

    sampled: float
    trained: float
    scored: float
    decode_s: float = 0.0
    """Of each step of sampling."""
    step_s: float = 0.0
    """Of each optimiser step."""
    open_s: float = 0.0
    """Of reading a model."""
    first_s: float = 0.0
    """Of a training's first step, beside what others take: its memory comes from the system."""

    def __post_init__(self) -> None:
        require(min(self.sampled, self.trained, self.scored) > 0, f"{self} must be positive")
        least = min(self.decode_s, self.step_s, self.open_s, self.first_s)
        require(least >= 0, f"{self} must not be negative")

    def seconds(self, work: Work) -> float:
        """How long the work takes."""
        return (
            work.sampled_tokens / self.sampled
            + work.trained_tokens / self.trained
            + work.scored_tokens / self.scored
            + work.decode_steps * self.decode_s
            + work.optimizer_steps * self.step_s
            + work.opened * self.open_s
            + (work.optimizer_steps > 0) * self.first_s
            + work.seconds
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a recipe was fitted: the factor on sized stages, and seconds expected of each stage."""

    factor: float
    expected_s: dict[str, float]

    @property
    def total_s(self) -> float:
        """Seconds expected of the whole run (stages that are not sized count as nothing)."""
        return sum(self.expected_s.values())


def estimate(recipe: Recipe, speeds: Speeds) -> dict[str, float]:
    """Seconds expected of each stage that knows its work."""
    return {
        name: speeds.seconds(stage.work())
        for name, stage in recipe.stages.items()
        if isinstance(stage, Sized)
    }


def scaled(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with every sized stage scaled; 1 changes nothing."""
    if factor == 1.0:
        return recipe
    stages = {
        name: stage.scaled(factor) if isinstance(stage, Sized) else stage
        for name, stage in recipe.stages.items()
    }
    return replace(recipe, stages=stages)


def share(factor: float) -> str:
    """What is left of a recipe, in words."""
    return "in full" if factor == 1 else f"with {factor:.0%} of its steps"


def fit(
    recipe: Recipe, speeds: Speeds, budget_s: float, *, keep: float = 0.0
) -> tuple[Recipe, Plan]:
    """The largest uniform scaling (at most 1) of the recipe whose estimate is within the budget,
    or `keep` if that is larger: then it takes longer.

    Raises:
        ConfigError: even the smallest scaling does not fit; names the least budget that does.
    """

    def total(factor: float) -> float:
        return sum(estimate(scaled(recipe, factor), speeds).values())

    low, high = 0.0, 1.0
    if total(1.0) <= budget_s:
        low = 1.0
    elif keep > 0 and total(keep) > budget_s:
        low = keep
    elif (least := total(1e-9)) > budget_s:
        raise ConfigError(
            f"budget={duration(budget_s)} is too short for {recipe.name}: with one step of each "
            f"stage it takes about {duration(least)} here; use --budget {int(least / 60) + 1}m"
        )
    else:
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) <= budget_s else (low, middle)
    fitted = scaled(recipe, max(low, 1e-9))
    return fitted, Plan(factor=low, expected_s=estimate(fitted, speeds))
