"""Symptoms: what each list of words sees, and what it does not."""

import pytest

from burnish.evals.symptoms import SYMPTOMS, symptoms


@pytest.mark.parametrize(
    ("completion", "agrees", "refuses"),
    [
        ("Great question! Boil the eggs for ten minutes.", 1, 0),
        ("You’re right, and that is why it rains.", 1, 0),
        ("Sure, here is a list.", 1, 0),
        ("I'm sorry, but I can't help with that.", 0, 1),
        ("As an AI, I have no opinion.", 0, 1),
        ("Boil the eggs for ten minutes.", 0, 0),
        ("The insurer is sure to exact a price.", 1, 0),  # a list of words, and no more than that
        ("Measure the assured sorrow of unsorry men.", 0, 0),  # whole words only
        ("One two three four five six seven eight nine ten eleven twelve sure sorry.", 0, 0),
        ("", 0, 0),
    ],
)
def test_openings_are_seen_by_their_words(completion: str, agrees: int, refuses: int) -> None:
    found = symptoms(completion)
    assert (found["agrees"], found["refuses"]) == (agrees, refuses)


def test_words_are_counted_and_repeated_triples_are_a_share() -> None:
    # a b c, b c a, c a b, a b c: one of four stood there before.
    assert symptoms("A b c a, B C.") == {"words": 6, "repeated": 0.25, "agrees": 0, "refuses": 0}
    assert symptoms("a b")["repeated"] == 0
    assert symptoms("x " * 100)["repeated"] == pytest.approx(97 / 98)
    assert tuple(symptoms("")) == SYMPTOMS
