"""Budgets: steps are cut just enough, and what cannot fit says what would."""

import pytest

from burnish.errors import ConfigError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.budget import Speeds, estimate, fit
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.span import parse_span
from tests.unit.pipeline.tiny import Source, Train

SPEEDS = Speeds(sampled=50, trained=10, scored=100)  # a step of Train is 100 tokens: 10 s


def recipe() -> Recipe:
    model = Ref("base", "model")
    stages = {
        "base": Source(),
        "long": Train(model=model, steps=60),
        "short": Train(model=model, steps=6),
    }
    return Recipe(name="tiny", stages=dict(stages))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("8m", 480), ("1h30m", 5400), ("1H", 3600), ("2m30s", 150)]
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "0s", "-3m", "8 minutes", "1.5h", "m"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="90s, 8m or 1h30m"):
        parse_span(text)


def test_a_recipe_that_fits_is_left_as_it_is() -> None:
    fitted, plan = fit(recipe(), SPEEDS, 660)
    assert fitted == recipe() and plan.factor == 1
    assert plan.expected_s == {"long": 600, "short": 60} == estimate(recipe(), SPEEDS)


def test_scaling_is_uniform_and_uses_the_budget_up() -> None:
    fitted, plan = fit(recipe(), SPEEDS, 330)
    steps = [s.steps for s in fitted.stages.values() if isinstance(s, Train)]
    assert steps == [30, 3] and plan.total_s == 330
    assert fitted.stages["base"] == Source()


def test_what_is_to_be_kept_counts_for_more_than_the_budget() -> None:
    fitted, plan = fit(recipe(), SPEEDS, 100, keep=0.5)
    assert plan.factor == 0.5 and plan.total_s == 330
    assert [s.steps for s in fitted.stages.values() if isinstance(s, Train)] == [30, 3]
    assert fit(recipe(), SPEEDS, 1, keep=0.5)[1].factor == 0.5
    assert fit(recipe(), SPEEDS, 440, keep=0.5)[1].factor == pytest.approx(2 / 3, abs=0.02)
    assert fit(recipe(), SPEEDS, 660, keep=0.5)[1].factor == 1


def test_a_budget_below_one_step_of_each_names_the_least_that_would_do() -> None:
    with pytest.raises(ConfigError, match=r"too short for tiny.*about 0:20 here; use --budget 1m"):
        fit(recipe(), SPEEDS, 19)
    assert fit(recipe(), SPEEDS, 20)[1].total_s == 20
