"""Multiple choice: one letter and no other."""

import pytest

from burnish.errors import DataError
from burnish.verifiers.choice import verify_choice

PROMPT = "Which town is meant?\nA) London\nB) Paris\nC) A dog\nD) Rome"


@pytest.mark.parametrize(
    "text",
    [
        "Answer: B",
        "answer: b",
        "**Answer:** (B)",
        "Answer: **B**",
        "Answer: B) Paris",
        "Answer: B Paris.",
        "Answer: option B",
        "Answer: B, since the others are no towns",
        "B",
        " (B).\n",
        "\\boxed{B}",
        "$\\boxed{\\text{(B)}}$",
        "The correct answer is (B) Paris.",
        "Answer: A\nWait, that is wrong.\nAnswer: B",
        'Answer: "B"',
        "<think>A or B?</think>\nB",
        "B) Paris",
        "**(B) Paris.**",
        "Answer: B (Paris)",
    ],
)
def test_the_letter_passes_as_people_write_it(text: str) -> None:
    assert verify_choice(text, "B", PROMPT).passed
    assert verify_choice(text, "(b)", PROMPT).passed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer:",
        "Answer: A",
        "Answer: B or C",
        "Answer: B/C",
        "Answer: B. Or C.",
        "Answer: A, B, C, D",
        "Answer: A B C D",
        "ABCD",
        "Answer: all of the above",
        "Answer: not B",
        "Answer: B\nWait, C?",
        "Answer: anything but B",
        "<think>B</think>",
        "The answer is not B.",
        "Answer: B\nAnswer: C",
        "Answer: B) London",
        "Answer: Paris",
        "Answer: Bob",
        "Answer: В",  # Cyrillic
        "Answer: Ｂ",
        "Answer: <letter>",
        "\\boxed{A}\\boxed{B}",
        "I like B best.",
        "B) London",
        "B) Paris\nC) A dog",
        "Answer: B (London)",
        "Answer: B, or London",
        "Answer: B, possibly C",
        "Answer: B; but C may be it",
        "Answer: B, otherwise Rome",
        "Answer: B) Paris (or Rome)",
        "Answer: B, i.e. Rome",
        "Answer: ~~B~~",
        "~~Answer: B~~",
        PROMPT,
    ],
)
def test_another_letter_or_several_or_none_fail(text: str) -> None:
    assert verify_choice(text, "B", PROMPT).passed is False


def test_an_article_is_no_letter() -> None:
    assert not verify_choice("The answer is a mystery.", "A").passed
    assert verify_choice("The answer is (a).", "A").passed


def test_the_reference_must_be_a_letter() -> None:
    with pytest.raises(DataError, match="'Paris' is not one letter"):
        verify_choice("Answer: B", "Paris")
