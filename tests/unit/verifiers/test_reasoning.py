"""reasoning-gym's own scorers: right answers beside the one given, and what they may do wrong."""

import json
import sys
from pathlib import Path

import pytest

from burnish.envs.arithmetic import Check, reasoning_problems
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, Problem
from burnish.verifiers.answering_process import AnsweringProcess
from burnish.verifiers.entries import packed, unpacked
from burnish.verifiers.harmless import evaluates, harmless
from burnish.verifiers.verify import SLOW, VERIFIERS, verify_problem


def test_an_answer_other_than_the_given_one_may_be_right() -> None:
    (problem, *_), _ = reasoning_problems(
        "countdown", 2, seed=1, options={"min_numbers": 3, "max_numbers": 3}, check="reasoning"
    )
    given = verify_problem(problem, f"Answer: {problem.answer}")
    turned = verify_problem(problem, f"Answer: ({problem.answer}) * 1 / 1")
    same = verify_problem(problem, f"So.\nAnswer:  (({problem.answer})) ")
    assert problem.task == "reasoning" and given.passed and given.score == 1.0
    assert same.passed
    # It uses a number that was not given: near is not right.
    assert not turned.passed and turned.score is not None and turned.score < 1.0
    for text in (problem.answer, f"Answer: {problem.answer}\nAnswer: 7"):
        assert verify_problem(problem, text).why == "no `Answer:`, or several"
    exact, _ = reasoning_problems("chain_sum", 2, seed=1, options={})
    assert exact[0].task == "chain_sum" and exact[0].meta == "{}"


@pytest.mark.parametrize(
    "task", ["mini_sudoku", "n_queens", "rotate_matrix", "futoshiki", "tower_of_hanoi", "rearc"]
)
def test_an_answer_of_several_lines_is_read_to_its_end(task: str) -> None:
    (problem,), _ = reasoning_problems(task, 1, seed=1, options={}, check="reasoning")
    (exact,), _ = reasoning_problems(task, 1, seed=1, options={})
    right = problem.answer
    for text in (
        f"Answer: {right}",
        f"Let me see.\n\n**Answer:**\n{right}\n\nThat is all there is to it.",
        f"Answer:\n```\n{right}\n```",
        f"Answer:\n{right}\n\nAnswer:\n{right}",
    ):
        assert verify_problem(problem, text).passed and verify_problem(exact, text).passed, text
    first, rest = right.split("\n", 1)
    for text in (
        right,
        f"Answer: {first}",
        f"Answer: {rest}",
        f"Answer:\n{rest}\n{first}\n{first}",
        f"Answer:\n{right}\n\n{rest}\n{first}",
        f"Answer:\n{right}\n\nWait, no, that is wrong.",
        f"Answer:\n{right}\n\nAnswer:\n{rest}",
    ):
        assert not verify_problem(exact, text).passed, text
        if task != "tower_of_hanoi":  # its scorer looks at where the disks come to lie
            assert not verify_problem(problem, text).passed, text


def test_tuples_of_an_entry_are_tuples_to_its_scorer() -> None:
    entry = {"a": (1, [(2, 3), {"b": ()}]), "c": [4], "d": {"e": 5}}
    assert json.loads(json.dumps(packed(entry)), object_hook=unpacked) == entry


def test_problems_without_any_answer_are_passed_over() -> None:
    checks: tuple[Check, ...] = ("exact", "reasoning")
    for check in checks:
        found, _ = reasoning_problems("ab", 20, seed=1, options={}, check=check)
        assert all(problem.answer.strip() for problem in found)


def test_a_task_without_one_answer_needs_its_scorer_and_none_is_no_answer() -> None:
    with pytest.raises(ConfigError, match="graph_color has many right answers"):
        reasoning_problems("graph_color", 1, seed=1, options={})
    (problem,), _ = reasoning_problems("graph_color", 1, seed=1, options={}, check="reasoning")
    assert problem.answer == ""
    right = json.loads(problem.meta)["entry"]["metadata"]["possible_answer"]
    assert verify_problem(problem, f"Answer: {json.dumps(right)}").passed
    assert verify_problem(problem, f"Answer:\n```json\n{json.dumps(right, indent=1)}\n```").passed
    assert not verify_problem(problem, "Answer: None").passed


def test_problems_whose_own_answer_may_not_be_scored_are_passed_over() -> None:
    found, passed_over = reasoning_problems(
        "intermediate_integration", 40, seed=1, options={}, check="reasoning"
    )
    assert passed_over >= 1
    assert not any("Integral" in problem.answer for problem in found)


def countdown() -> Problem:
    options = {"min_numbers": 3, "max_numbers": 3}
    (problem,), _ = reasoning_problems("countdown", 1, seed=1, options=options, check="reasoning")
    return problem


@pytest.mark.parametrize(
    "call",
    [
        "open('{}', 'w')",
        "__import__('os').system('touch {}')",
        "exec('open(chr(47), 1)')",
        'sin(\'open("{}", "w")\')',
        'x + S(\'open("{}", "w")\')',
        "[open('{}', 'w') for _ in (1,)]",
    ],
)
def test_code_in_an_answer_is_not_run(call: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    verdict = verify_problem(countdown(), f"Answer: {call.format(made)}")
    assert verdict.score == 0.0 and "would run it" in verdict.why
    assert not made.exists()


def test_a_tower_of_powers_or_a_factorial_takes_no_time_of_the_trainers() -> None:
    for text in ("9**9**9**9", "(9**99)**99 * 9**9999", "10**99999999", "9999999!", "2**(99*99)"):
        assert verify_problem(countdown(), f"Answer: {text}").passed is False


def test_a_scorer_that_fails_on_what_a_model_wrote_is_a_wrong_answer() -> None:
    meta = json.dumps({"dataset": "countdown", "options": {}, "entry": {}})
    problem = Problem(prompt=Conversation.of("?"), task="reasoning", answer="1", meta=meta)
    verdict = verify_problem(problem, "Answer: 1")
    assert verdict.score == 0.01 and not verdict.passed  # its own answer to what it cannot read
    meta = json.dumps({"dataset": "chain_sum", "options": {}, "entry": {}})
    verdict = verify_problem(
        Problem(prompt=problem.prompt, task="reasoning", meta=meta), "Answer: 1"
    )
    assert verdict.score == 0.0 and verdict.why == "the scorer of chain_sum failed (KeyError)"


def test_verifiers_that_ask_another_process_do_it_while_sampling_goes_on() -> None:
    asking = {
        task
        for task, verifier in VERIFIERS.items()
        for used in vars(sys.modules[verifier.__module__]).values()
        if isinstance(used, AnsweringProcess)
    }
    assert "reasoning" in asking <= SLOW


def test_scorers_that_evaluate_are_found_by_what_they_call() -> None:
    from reasoning_gym.factory import DATASETS

    found = {name: evaluates(name) for name in DATASETS}
    assert found["countdown"] == found["simple_integration"] == {"formula"}
    assert found["n_queens"] == found["string_insertion"] == {"data"}
    assert not found["chain_sum"] and not found["propositional_logic"]


@pytest.mark.parametrize(
    ("text", "data", "formula"),
    [
        ("1 + 2*(3 - x)", False, True),
        ("-x**3/3 + 5*sin(x) + log(Abs(x)) + C", False, True),
        ("[[1, 0], ['a', -2]]", True, False),
        ("ABC", True, False),
        ("x", True, True),
        ("_ Q _ _", True, False),
        ("f(x)", False, False),
        ("x.is_real", False, False),
        ("sin(x, evaluate=False)", False, False),
        ("Integral(x, x)", False, False),
        ("(lambda: 1)()", False, False),
        ("'a' * 10**9", False, False),
        ("x**(2**9)", False, False),
        ("2**101", False, False),
        ("9" * 31, True, False),
        ("(" * 900, True, False),
        ("1" + " + 1" * 400, False, False),
    ],
)
def test_what_may_be_evaluated(text: str, data: bool, formula: bool) -> None:
    assert harmless(text, "data") is data
    assert harmless(text, "formula") is formula


@pytest.mark.parametrize(
    "meta",
    ["{}", "[]", "x", '{"dataset": "no_such", "options": {}, "entry": {}}'],
)
def test_a_problem_of_no_data_set_is_an_error_of_the_users(meta: str) -> None:
    problem = Problem(prompt=Conversation.of("?"), task="reasoning", answer="1", meta=meta)
    with pytest.raises(DataError, match="`meta`"):
        verify_problem(problem, "Answer: 1")
