"""What a calibration says of judges whose ways are known."""

import math

import numpy as np
import pytest

from burnish.errors import DataError
from burnish.evals.judge_calibration import JudgedPair, cohens_kappa, judge_figures
from burnish.evals.stats import accuracy_interval, mean_interval
from burnish.types import Winner


def pair(
    label: Winner,
    a_first: Winner | None,
    b_first: Winner | None = None,
    *,
    prompt: str = "",
    chars: tuple[int, int] = (10, 10),
    same: bool = True,
) -> JudgedPair:
    return JudgedPair(
        prompt=prompt or str(id(object())),
        label=label,
        a_first=a_first,
        b_first=a_first if same and b_first is None else b_first,
        chars_a=chars[0],
        chars_b=chars[1],
    )


def apart(pairs: list[JudgedPair]) -> list[JudgedPair]:
    """Each of a prompt of its own."""
    from dataclasses import replace

    return [replace(p, prompt=str(i)) for i, p in enumerate(pairs)]


def test_agreement_counts_ties_half_and_leaves_tied_labels_and_unread_pairs_out() -> None:
    pairs = apart(
        [
            pair("a", "a"),
            pair("b", "b"),
            pair("b", "a"),
            pair("a", "a", "b"),  # the orders disagree: a tie
            pair("tie", "a"),
            pair("a", None, same=False),
        ]
    )
    figures = judge_figures(pairs)
    assert figures.agreement.estimate == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert figures.agreement.n == 4
    assert figures.swap_consistency.estimate == pytest.approx(4 / 5)
    assert figures.unread.estimate == pytest.approx(1 / 6)
    assert (figures.num_pairs, figures.num_prompts) == (6, 6)


def test_agreement_of_separate_prompts_has_wilsons_interval() -> None:
    figures = judge_figures(apart([pair("a", "a")] * 7 + [pair("a", "b")] * 3))
    wilson = accuracy_interval(7, 10)
    assert (figures.agreement.low, figures.agreement.high) == (wilson.low, wilson.high)


def test_pairs_of_one_prompt_are_one_observation() -> None:
    crowd = [pair("a", "a", prompt="p") for _ in range(98)]
    others = [pair("a", "b", prompt="q"), pair("a", "a", prompt="r")]
    figures = judge_figures([*crowd, *others])
    assert figures.agreement.estimate == pytest.approx(2 / 3)
    assert figures.agreement.n == 3
    assert figures.agreement.low == mean_interval([1.0, 0.0, 1.0]).low


def test_kappa_by_hand() -> None:
    # Observed .7; expected .5 * .6 + .5 * .4 = .5.
    pairs = [("a", "a")] * 4 + [("a", "b")] * 1 + [("b", "a")] * 2 + [("b", "b")] * 3
    assert cohens_kappa(pairs) == pytest.approx((0.7 - 0.5) / 0.5)
    assert cohens_kappa([("a", "a"), ("b", "b")]) == 1.0
    assert math.isnan(cohens_kappa([("a", "a")])) and math.isnan(cohens_kappa([]))


def test_a_judge_that_likes_the_first_shown_has_positive_log_odds() -> None:
    pairs = apart([pair("a", "a", "b")] * 3 + [pair("a", "b", "b")] * 1)
    # Of eight answers the first shown wins 3 (a first) and 3 + 1 (b first).
    figures = judge_figures(pairs)
    assert figures.first_shown.estimate == pytest.approx(math.log((7 / 8) / (1 / 8)))
    fair = judge_figures(apart([pair("a", "a"), pair("a", "b")]))
    assert fair.first_shown.estimate == pytest.approx(0.0)
    assert judge_figures(apart([pair("a", "tie")] * 3)).first_shown.n == 0


def test_always_the_first_is_a_finite_number() -> None:
    figures = judge_figures(apart([pair("a", "a", "b")] * 10))
    assert figures.first_shown.estimate == pytest.approx(math.log(0.95 / 0.05))
    assert figures.swap_consistency.estimate == 0.0


def test_the_length_slope_is_that_of_a_logistic_regression() -> None:
    # At a ratio of e the longer one wins 3 times of 4: the slope is log 3.
    pairs = apart(
        [pair("b", "a", chars=(2718, 1000))] * 3 + [pair("b", "b", chars=(2718, 1000))]
        + [pair("a", "b", chars=(1000, 2718))] * 3 + [pair("a", "a", chars=(1000, 2718))]
    )  # fmt: skip
    figures = judge_figures(pairs)
    assert figures.length_slope.estimate == pytest.approx(math.log(3), abs=0.02)
    assert figures.label_length_slope.estimate < -1
    added = figures.added_length_slope
    assert added.estimate == pytest.approx(
        figures.length_slope.estimate - figures.label_length_slope.estimate
    )
    assert added.low < added.estimate < added.high


def test_separable_lengths_give_a_finite_slope() -> None:
    figures = judge_figures(apart([pair("a", "a", chars=(20, 10))] * 5))
    assert 2 < figures.length_slope.estimate < 20


def test_the_slopes_interval_covers_as_often_as_it_says() -> None:
    """With pairs in clusters of equal verdicts, which a plain interval would be too sure of."""
    truth, covered, trials = 0.8, 0, 200
    for trial in range(trials):
        chance = np.random.default_rng(trial)
        pairs = []
        for prompt in range(60):
            ratio = float(chance.normal())
            wins = chance.random() < 1 / (1 + math.exp(-truth * ratio))
            chars = (round(1000 * math.exp(ratio)), 1000)
            pairs += [pair("a", "a" if wins else "b", prompt=str(prompt), chars=chars)] * 4
        found = judge_figures(pairs).length_slope
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / trials <= 0.99


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="no labelled pairs"):
        judge_figures([])
