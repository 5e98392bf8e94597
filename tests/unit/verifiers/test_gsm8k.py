"""GSM8K's convention, on its own references and on what models make of them."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from burnish.data.load import load_problems
from burnish.errors import DataError
from burnish.types import Conversation, Problem
from burnish.verifiers.gsm8k import gsm8k_reference, verify_gsm8k
from burnish.verifiers.verify import verify_problem

DATA = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "test.jsonl"
SOLUTION = "She makes 9 * 2 = $<<9*2=18>>18.\n#### 18"


@pytest.mark.parametrize(
    "text",
    [
        SOLUTION,
        "Answer: 18",
        "#### 18",
        "\\boxed{18}",
        "So the answer is $18.",
        "The final answer is: **18 dollars a day**.",
        "The answer is 18.\n#### 18",
        "Answer: 18 (since 9 * 2 = 18)",
        "Answer: 18\nActually, 18 is right.",
        "An incorrect answer: 17.\nAnswer: 18",
    ],
)
def test_the_number_passes_in_every_form(text: str) -> None:
    verdict = verify_gsm8k(text, SOLUTION)
    assert (verdict.passed, verdict.score, verdict.why) == (True, 1.0, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("18", "no answer is stated"),
        ("It is 18.", "no answer is stated"),
        ("The answer is not 18.", "no answer is stated"),
        ("Answer: 180", "expected 18"),
        ("Answer: 17\n#### 18", "answered '17'"),
        ("Answer: 17, 18", "not one number"),
        ("Answer:", "not one number"),
        ("\\boxed{17} \\boxed{18}", "answered '17'"),
        ("Answer: anything but 18", "not one number"),
        ("Answer: 18\nWait, 17?", "no answer is stated"),
        ("#### 18\nActually, it's 17.", "no answer is stated"),
        ("\\boxed{18} is incorrect.", "no answer is stated"),
        ("It is not \\boxed{18}", "not one number"),
        ("-\\boxed{18}", "not one number"),
        ("\\boxed{18}0", "not one number"),
        ("The wrong answer is 18", "no answer is stated"),
        ("A common mistake is $\\boxed{18}$", "no answer is stated"),
        ("Answer: 18\r17", "answered '17'"),
        ("Answer: 18 squared", "not one number"),
        ("Answer: 18+", "not one number"),
        ("Answer: 18 -", "not one number"),
        ("Answer: 18 dozen", "a unit that the question does not name"),
        ("Answer: ~~18~~", "no answer is stated"),
        ("~~Answer: 18~~ Answer: 20", "expected 18"),
        ("Answer: double 18", "not one number"),
        ("Answer: sqrt(18)", "not one number"),
        ("Answer: f(18)", "not one number"),
        ("Answer: minus 18", "expected 18"),
        ("Answer: negative 18", "expected 18"),
    ],
)
def test_everything_else_fails_and_says_why(text: str, why: str) -> None:
    verdict = verify_gsm8k(text, "18")
    assert (verdict.passed, verdict.score) == (False, 0.0)
    assert why in verdict.why


@pytest.mark.parametrize(
    ("text", "question", "passed"),
    [
        ("Answer: $\\boxed{18}$", "How many pounds of flour are there?", True),
        ("The answer is $18$.", "How many euros does she have?", True),
        ("The answer is $18.", "How many pounds of flour are there?", True),
        ("The answer is $18.", "How many euros does she have?", False),
        ("The answer is £18.", "How many dollars does she have?", False),
        ("The answer is $18.", "It costs £9 each. How many pounds does she pay?", False),
        ("The answer is 18 pounds.", "How many pounds of flour are there?", True),
    ],
)
def test_a_dollar_sign_is_money_or_latex(text: str, question: str, passed: bool) -> None:
    assert verify_gsm8k(text, "18", question).passed is passed


@pytest.mark.parametrize(
    ("text", "passed"),
    [("18 000", True), ("18,000", True), ("18.000", False), ("17 018", False), ("18 00", False)],
)
def test_thousands_may_be_set_apart(text: str, passed: bool) -> None:
    assert verify_gsm8k(f"Answer: {text}", "18000").passed is passed


def test_a_reference_is_the_number_or_the_whole_solution() -> None:
    assert gsm8k_reference(SOLUTION) == gsm8k_reference("18") == gsm8k_reference("$18.0")
    assert gsm8k_reference("#### 1,080").value == 1080
    with pytest.raises(DataError, match="'eighteen' is not a number"):
        gsm8k_reference("eighteen")


def test_a_problem_without_reference_is_not_scored() -> None:
    problem = Problem(prompt=Conversation.of("How many?"), task="gsm8k")
    assert verify_problem(problem, "Answer: 18").score is None


def test_every_problem_passes_with_its_own_solution_and_no_other() -> None:
    if not DATA.is_file():
        pytest.skip(f"{DATA} is not beside the project")
    problems, _ = load_problems(DATA)
    with DATA.open(encoding="utf-8") as file:
        solutions = [json.loads(line)["answer"] for line in file]
    assert [p.task for p in problems] == ["gsm8k"] * len(solutions)
    own = [verify_problem(p, s) for p, s in zip(problems, solutions, strict=True)]
    assert [v.why for v in own if not v.passed] == []
    others = zip(problems, [*solutions[1:], solutions[0]], strict=True)
    by_chance = sum(bool(verify_problem(p, s).passed) for p, s in others)
    equal = sum(a.answer == b.answer for a, b in pairwise(problems))
    assert by_chance <= equal + 1
    working = [s.rpartition("####")[0] for s in solutions]
    assert not any(verify_problem(p, w).passed for p, w in zip(problems, working, strict=True))
