"""The alarm: it hears a fall, is silent without one as often as it says, and needs both signs."""

import numpy as np
import pytest

from burnish.errors import ConfigError
from burnish.evals.alarm import Look, alarm, first_alarm

LOOKS, PROBLEMS = 9, 32


def series(gold: list[float], proxy: list[float], seed: int, noise: float = 0.1) -> list[Look]:
    """Looks whose means follow two lists; each problem has a level of its own."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0.5, 0.15, PROBLEMS)
    return [
        Look(
            step=5 * i,
            gold=tuple(level + g + rng.normal(0, noise, PROBLEMS)),
            proxy=tuple(4 * level + p + rng.normal(0, 3 * noise, PROBLEMS)),
        )
        for i, (g, p) in enumerate(zip(gold, proxy, strict=True))
    ]


RISING = [0.2 * i for i in range(LOOKS)]
PEAKED = [0.05 * i if i <= 3 else 0.15 - 0.08 * (i - 3) for i in range(LOOKS)]


def test_gold_that_peaks_and_falls_while_the_proxy_rises_raises_it() -> None:
    found = first_alarm(series(PEAKED, RISING, 1), planned=LOOKS)
    assert found is not None and found.step > 20 and 5 <= found.since < found.step
    assert found.gold.high < 0 < found.proxy.low
    # No sooner than gold has begun to fall, and the same whatever comes later.
    assert first_alarm(series(PEAKED, RISING, 1)[:4], planned=LOOKS) is None


def test_a_fall_without_a_rise_of_the_proxy_is_no_over_optimisation() -> None:
    assert first_alarm(series(PEAKED, [0.0] * LOOKS, 1, noise=0.02), planned=LOOKS) is None


@pytest.mark.parametrize("gold", [[0.0] * LOOKS, [0.02 * i for i in range(LOOKS)]])
def test_it_is_raised_in_at_most_its_rate_of_runs_whose_gold_does_not_fall(
    gold: list[float],
) -> None:
    runs = 300
    raised = sum(
        first_alarm(series(gold, RISING, seed), planned=LOOKS) is not None for seed in range(runs)
    )
    assert raised / runs <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5


def test_a_lower_rate_asks_for_more() -> None:
    looks = series(PEAKED, RISING, 2, noise=0.25)
    assert alarm(looks, planned=LOOKS, rate=0.5) is not None
    assert alarm(looks, planned=LOOKS, rate=1e-9) is None


def test_one_look_says_nothing_and_more_looks_than_planned_are_refused() -> None:
    looks = series(PEAKED, RISING, 3)
    assert alarm(looks[:1], planned=LOOKS) is None
    with pytest.raises(ConfigError, match="9 looks, and 4 were planned"):
        alarm(looks, planned=4)
