"""The area under the ROC curve, against every pair counted one by one."""

import itertools
import math

import numpy as np
import pytest

from burnish.evals.formatting import markup_count
from burnish.evals.ranking import auc


def test_auc_by_hand_with_a_tie():
    # right: .9, .4; wrong: .4, .1. Pairs: 1, 1, .5, 1 of four
    assert auc([0.9, 0.4, 0.4, 0.1], [1, 1, 0, 0]) == 0.875


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, outcomes = rng.integers(0, 6, 60).tolist(), rng.integers(0, 2, 60).tolist()
    right = [s for s, y in zip(scores, outcomes, strict=True) if y]
    wrong = [s for s, y in zip(scores, outcomes, strict=True) if not y]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(right, wrong)]
    assert auc(scores, outcomes) == pytest.approx(sum(pairs) / len(pairs))
    assert auc([-s for s in scores], outcomes) == pytest.approx(1 - auc(scores, outcomes))


def test_auc_of_one_kind_only_is_not_a_number():
    assert math.isnan(auc([0.1, 0.2], [1, 1]))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Plain text, 2 * 3 * 4 and a - b.", 0),
        ("- one\n- two\n* three", 3),
        ("1. one\n2) two", 2),
        ("# Title\n#hashtag", 1),
        ("- **bold** and `code`", 3),
        ("```python\nx\n```", 2),
        ("| a | b |\n|---|---|\n", 2),
    ],
)
def test_markup_is_counted(text, count):
    assert markup_count(text) == count
