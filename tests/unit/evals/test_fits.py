"""The laws come back from points that obey them; intervals cover; nonsense is refused."""

import math

import numpy as np
import pytest

from burnish.errors import ConfigError, DataError
from burnish.evals.fits import fit_coverage, fit_overoptimization, resample_overoptimization

D = np.linspace(0.3, 4.0, 12)


@pytest.mark.parametrize(
    ("form", "curve", "peak"),
    [
        ("bon", lambda d: d * (1.2 - 0.2 * d), 3.0),
        ("rl", lambda d: d * (1.2 - 0.6 * np.log(d)), math.e),
    ],
)
def test_over_optimisation_comes_back_with_its_peak(form, curve, peak):
    fit = fit_overoptimization(D.tolist(), curve(D).tolist(), form=form)
    assert (fit.alpha, fit.beta) == pytest.approx((1.2, {"bon": 0.2, "rl": 0.6}[form]))
    assert fit.peak == pytest.approx(peak)
    assert fit.r_squared == pytest.approx(1)
    best = D[np.argmax(curve(D))]
    assert abs(best - peak) < 0.4


def test_where_gold_never_bends_down_there_is_no_peak():
    assert fit_overoptimization([1, 2, 3], [1, 2.1, 3.4], form="bon").peak is None


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        gold = D * (1.2 - 0.2 * D) + 0.1 * generator.standard_normal(len(D))
        interval = fit_overoptimization(D.tolist(), gold.tolist(), form="bon").intervals["beta"]
        covered += interval.low <= 0.2 <= interval.high
    assert 0.91 < covered / 400 < 0.99


def test_coverage_comes_back():
    k = np.array([1, 4, 16, 64, 256])
    fit = fit_coverage(k.tolist(), np.exp(-2.4 * k**-0.35).tolist())
    assert (fit.a, fit.b) == pytest.approx((-2.4, -0.35))
    assert fit.peak is None


def test_coverage_of_beta_distributed_problems_is_fitted_closely():
    # p ~ Beta(.3, 3): pass@k in closed form
    found = fit_coverage([1, 4, 16, 64, 256], [0.09091, 0.24019, 0.44224, 0.61935, 0.74658])
    assert found.a < 0 and found.b < 0
    for k, c in ((1, 0.09091), (16, 0.44224), (256, 0.74658)):
        assert math.exp(found.a * k**found.b) == pytest.approx(c, abs=0.03)
    assert found.r_squared > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_overoptimization([1, 2, 3], [1, 2, 3], form="ppo"), "valid: bon, rl"),
        (lambda: fit_overoptimization([0, 2, 3], [1, 2, 3], form="bon"), "above 0"),
        (lambda: fit_overoptimization([1, 2], [1, 2, 3], form="bon"), "one length"),
        (lambda: fit_overoptimization([1, 2, 3], [1, 2, math.nan], form="rl"), "finite"),
        (lambda: fit_coverage([1, 2, 3], [0.1, 0.2, 1.0]), "coverage must be in"),
    ],
)
def test_what_cannot_be_a_point_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("distance", [[1, 2], [2, 2, 2]])
def test_too_few_points_are_refused(distance):
    with pytest.raises(DataError):
        fit_overoptimization(distance, [0.5] * len(distance), form="bon")


def points(
    generator: np.random.Generator, prompts: int, spread: float
) -> tuple[list[list[float]], list[list[float]]]:
    """KL and gold of each point and prompt, under the law of best of n with alpha 1.2, beta .2."""
    taste = generator.normal(0, spread, prompts)
    kl = [[d * d] * prompts for d in D]
    gold = [(d * (1.2 - 0.2 * d) + d * taste).tolist() for d in D]
    return kl, gold


def test_resampling_prompts_covers_where_points_err_together() -> None:
    generator = np.random.default_rng(1)
    covered = narrow = 0
    for _ in range(60):
        kl, gold = points(generator, 40, 1.0)
        found = resample_overoptimization(kl, gold, form="bon", num=120)
        plain = fit_overoptimization(D.tolist(), np.mean(gold, axis=1).tolist(), form="bon")
        covered += found.values["alpha"].low <= 1.2 <= found.values["alpha"].high
        narrow += plain.intervals["alpha"].low <= 1.2 <= plain.intervals["alpha"].high
    assert covered / 60 > 0.85 and narrow / 60 < 0.5


def test_resampling_finds_the_peak_and_how_often_there_is_one() -> None:
    kl, gold = points(np.random.default_rng(2), 40, 0.1)
    found = resample_overoptimization(kl, gold, form="bon")
    assert found.peak is not None and found.peak.low <= 3.0 <= found.peak.high
    assert found.peaked == 1.0 and found.values["beta"].estimate == pytest.approx(0.2)
    assert found == resample_overoptimization(kl, gold, form="bon")
    rising = [[d + 0.1 * d * d] * 5 for d in D]
    up = resample_overoptimization([k[:5] for k in kl], rising, form="bon")
    assert up.peak is None and up.peaked == 0.0


def test_points_that_are_not_away_from_the_start_are_left_out() -> None:
    kl, gold = points(np.random.default_rng(3), 10, 0.0)
    with_start = resample_overoptimization([[0.0] * 10, *kl], [[5.0] * 10, *gold], form="bon")
    assert with_start.values["alpha"].estimate == pytest.approx(1.2)
    with pytest.raises(DataError):
        resample_overoptimization([[0.0] * 10] * 3, gold[:3], form="bon")
