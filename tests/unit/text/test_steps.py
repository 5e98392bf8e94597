"""Where steps end, in tokens: at separators, not at blank lines, and at the answer's last token."""

import pytest

from burnish.text.steps import step_ends
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
END = TOKENIZER.eos_token_id


def steps_of(text: str, separator: str = "\n") -> list[str]:
    """The text up to each end, from the one before."""
    ids = [*TOKENIZER.encode(text), END]
    ends = step_ends(ids, TOKENIZER, separator)
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [TOKENIZER.decode(ids[a : b + 1]) for a, b in zip(starts, ends, strict=True)]


def test_every_step_ends_with_the_token_that_completes_its_separator():
    assert steps_of("1 + 2 = 3\n3 + 4 = 7\nSo 7.") == [
        "1 + 2 = 3\n",
        "3 + 4 = 7\n",
        "So 7.<|im_end|>",
    ]


@pytest.mark.parametrize("text", ["a\n\n\nb", "\na\nb", "a\n \nb"])
def test_blank_lines_are_no_steps(text):
    assert len(steps_of(text)) == 2


def test_a_separator_at_the_end_closes_the_last_step():
    assert steps_of("a\nb\n") == ["a\n", "b\n"]


def test_a_separator_may_be_longer_than_a_token_and_hold_other_letters():
    assert steps_of("one ки\n\ntwo\nstill two\n\nthree ки", "ки\n\n") == [
        "one ки\n\n",
        "two\nstill two\n\nthree ки<|im_end|>",
    ]


def test_an_answer_without_text_is_one_step():
    assert step_ends([END], TOKENIZER, "\n") == (0,)
