"""Exact answers: what counts as the same, and the traps that do not."""

import pytest

from burnish.verifiers.exact import extract_answer, normalise, verify_exact

SAME = [
    ("7", "7"),
    ("7.", "7"),
    ("7.0", "7"),
    ("+7", "7"),
    ("007", "7"),
    ("-0.0", "0"),
    (".5", "0.50"),
    ("-2", "-2"),
    ("\N{MINUS SIGN}2", "-2"),
    ("1,234,567", "1234567"),
    ("**7**", "7"),
    ("`7`", "7"),
    ("(7)", "7"),
    ('"Paris."', "paris"),
    ("new   york!", "New York"),
    ("1,2", "1, 2"),
    ("NaN", "nan"),
    ("[]", "[]"),
    ("123456789012345678901234567890.10", "123456789012345678901234567890.1"),
]
DIFFERENT = [
    ("7 apples", "7"),
    ("7 = 7", "7"),
    ("2", "-2"),
    (".5", "5"),
    ("1,2", "12"),
    ("12,34", "1234"),
    ("1_0", "10"),
    ("a,b", "ab"),
    ("NaN", "7"),
    ("Infinity", "inf"),
    ("7-", "7"),
    ("--2", "-2"),
    ("٣", "3"),
    ("1e3", "1000"),
    ("1e1000000", "3"),  # exponents that would fill the memory, or overflow
    ("1e999999999", "3"),
    ("123456789012345678901234567890", "123456789012345678901234567891"),
    ("", "7"),
    ("...", ""),
    ("()", "[]"),
    ("[1]", "[]"),
    ("**", "[]"),
    ("[]", "7"),
    ("", ""),
]


@pytest.mark.parametrize(("given", "reference"), SAME)
def test_the_same_answer_written_otherwise_passes(given: str, reference: str) -> None:
    for text in (f"So it is.\nAnswer: {given}", f"answer :{given}\nThat is all."):
        verdict = verify_exact(text, reference)
        assert (verdict.passed, verdict.score, verdict.why) == (True, 1.0, "")


@pytest.mark.parametrize(("given", "reference"), DIFFERENT)
def test_another_answer_fails(given: str, reference: str) -> None:
    verdict = verify_exact(f"Answer: {given}", reference)
    assert (verdict.passed, verdict.score) == (False, 0.0)
    assert verdict.why


def test_marked_lines_must_agree_and_only_their_first_line_counts() -> None:
    assert verify_exact("Answer: 3\nno: Answer: 7", "7").passed
    assert not verify_exact("Answer: 3\nAnswer: 7", "7").passed
    assert verify_exact("Answer: 7\nAnswer: 7.0", "7").passed
    assert not verify_exact("Answer: 7\nAnswer: 3", "7").passed
    assert verify_exact("Answer:\n\n7\nand 3 more", "7").passed
    assert not verify_exact("Answer:\n\n7\n3", "7").passed
    assert not verify_exact("7", "7").passed
    assert not verify_exact("Answer: 7\nAnswer:", "7").passed
    assert verify_exact("", "7").why == "no `Answer:` in the completion"


def test_what_a_majority_counts_is_what_is_compared() -> None:
    assert extract_answer("Answer: 1,000.0") == extract_answer("answer: +1000") == "1000"
    assert extract_answer("Answer: 3\nAnswer: 4") == ""
    assert extract_answer("no mark") == extract_answer("Answer:") == ""
    for text, _ in SAME + DIFFERENT:
        assert normalise(normalise(text)) == normalise(text)
