"""Calibration by hand."""

import pytest

from burnish.errors import DataError
from burnish.evals.calibration import calibration


def test_calibration_bins_and_ece_by_hand() -> None:
    made = calibration([0.6, 0.6, 0.95, 1.0], [1, 0, 1, 0.5], bins=10)
    assert [(b.n, b.frequency) for b in made.bins] == [(2, 0.5), (2, 0.75)]
    assert made.ece == pytest.approx((2 * 0.1 + 2 * 0.225) / 4)
    with pytest.raises(DataError, match="within"):
        calibration([1.2], [1])
