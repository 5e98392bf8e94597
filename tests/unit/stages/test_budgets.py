"""A smaller share of a recipe is expected to take less: a budget is fitted by that."""

from itertools import pairwise

import pytest

from burnish.cli.recipes import load_recipe, packaged
from burnish.engine.supervised import Passes
from burnish.pipeline.budget import Speeds, estimate, scaled

SPEEDS = Speeds(
    sampled=1400, trained=430, scored=1400, decode_s=0.01, step_s=0.15, open_s=0.7
)  # two cores without matrix units


@pytest.mark.parametrize("name", sorted(packaged()))
def test_no_recipe_takes_longer_for_being_cut(name: str) -> None:
    recipe = load_recipe(name, None)
    shares = (1.0, 0.7, 0.4, 0.2, 0.05, 0.001, 1e-9)
    found = [estimate(scaled(recipe, share), SPEEDS) for share in shares]
    for more, less in pairwise(found):
        for stage, seconds in less.items():
            # Whole steps are rounded to: by one of them it may be more.
            assert seconds <= 1.1 * more[stage] + 20, (name, stage, more[stage], seconds)


def test_the_quickstart_can_be_cut_to_a_half() -> None:
    recipe = load_recipe("quickstart", None)
    whole, least = (sum(estimate(scaled(recipe, share), SPEEDS).values()) for share in (1.0, 1e-9))
    assert least < whole / 2


def test_data_that_nothing_is_known_of_does_not_grow_where_passes_are_cut() -> None:
    limited = Passes(batch_rows=10, epochs=2, max_steps=24)
    assert limited.usual_rows(99) == limited.scaled(1e-9).usual_rows(99) == 120
    assert limited.scaled(0.5) == Passes(batch_rows=10, epochs=1, max_steps=12)
    free = Passes(batch_rows=10, epochs=2)
    assert (free.usual_rows(40), free.scaled(0.25).usual_rows(40)) == (200, 400)
    assert free.scaled(0.25).num_steps(400) == 20
