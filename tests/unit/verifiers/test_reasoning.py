"""reasoning-gym's own scorers: right answers beside the one given, and what they may do wrong."""

import json
from typing import Any

import pytest

from burnish.envs.arithmetic import reasoning_problems
from burnish.errors import DataError
from burnish.types import Conversation, Problem
from burnish.verifiers import reasoning
from burnish.verifiers.verify import verify_problem


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


def test_a_scorer_that_fails_on_what_a_model_wrote_is_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(answer: str | None, entry: dict[str, Any]) -> float:
        raise RuntimeError(answer)

    monkeypatch.setattr(reasoning, "_scorer", lambda name, options: broken)
    meta = json.dumps({"dataset": "countdown", "options": {}, "entry": {}})
    problem = Problem(prompt=Conversation.of("?"), task="reasoning", answer="1", meta=meta)
    verdict = verify_problem(problem, "Answer: 1")
    assert verdict.score == 0.0 and verdict.why == "the scorer of countdown failed (RuntimeError)"


@pytest.mark.parametrize(
    "meta",
    ["{}", "[]", "x", '{"dataset": "no_such", "options": {}, "entry": {}}'],
)
def test_a_problem_of_no_data_set_is_an_error_of_the_users(meta: str) -> None:
    problem = Problem(prompt=Conversation.of("?"), task="reasoning", answer="1", meta=meta)
    with pytest.raises(DataError, match="`meta`"):
        verify_problem(problem, "Answer: 1")
