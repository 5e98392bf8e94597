"""The laws come back from points that obey them; intervals cover; nonsense is refused."""

import math

import numpy as np
import pytest

from burnish.errors import ConfigError, DataError
from burnish.evals.fits import fit_coverage, fit_overoptimization

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
