"""ROUGE-L by hand, and against a plain recursion."""

import functools

import numpy as np
import pytest

from burnish.evals.rouge import more_alike, rouge_l, words


def test_a_case_by_hand() -> None:
    a, b = words("Police killed the gunman."), words("police KILL the gunman")
    assert rouge_l(a, b) == pytest.approx(0.75)  # police ... the gunman: 3 of 4 and 4
    assert rouge_l(a, words("the gunman killed police")) == pytest.approx(0.5)
    assert rouge_l(a, a) == 1.0 and rouge_l(a, []) == 0.0 and rouge_l([], []) == 0.0


def test_words_of_any_script_and_no_punctuation() -> None:
    assert words("Wo ist's? Café 5 — привет") == ["wo", "ist", "s", "café", "5", "привет"]


def test_it_is_the_longest_common_subsequence() -> None:
    chance = np.random.default_rng(0)
    for _ in range(100):
        a, b = (tuple(chance.choice(list("abc"), chance.integers(1, 9))) for _ in range(2))

        @functools.cache
        def longest(i: int, j: int, a: tuple[str, ...] = a, b: tuple[str, ...] = b) -> int:
            if i == len(a) or j == len(b):
                return 0
            if a[i] == b[j]:
                return 1 + longest(i + 1, j + 1)
            return max(longest(i + 1, j), longest(i, j + 1))

        found = rouge_l(a, b)
        assert found == pytest.approx(2 * longest(0, 0) / (len(a) + len(b)))
        for limit in (0.3, 0.7, 1.0):
            assert more_alike(a, b, limit) == (found >= limit)
