"""Worked sums: every step of a demonstration is true, and leads to the verified answer."""

import re

import pytest

from burnish.envs.worked_sums import worked_sums
from burnish.errors import ConfigError
from burnish.verifiers.verify import verify_problem


def test_demonstrations_are_right_step_by_step():
    problems, shown = worked_sums(200, seed=0, min_terms=2, max_terms=5)
    assert len({p.id for p in problems}) == 200
    sizes = set()
    for problem, demonstration in zip(problems, shown, strict=True):
        question = problem.prompt.last_user.splitlines()[1]
        answer = demonstration.messages[-1].content
        *steps, last = answer.splitlines()
        sizes.add(len(steps) + 1)
        for step in steps:
            left, right = step.split(" = ")
            assert eval(left) == int(right)
        assert eval(question.removesuffix(" = ?")) == int(last.removeprefix("Answer: "))
        assert re.findall(r"\d+", question)[1:] == [s.split(" ")[2] for s in steps]
        assert verify_problem(problem, answer).passed
        wrong = answer.replace(last, f"Answer: {int(problem.answer) + 1}")
        assert not verify_problem(problem, wrong).passed
    assert sizes == {2, 3, 4, 5}


def test_the_same_seed_gives_the_same_sums_and_a_longer_list_begins_alike():
    short = worked_sums(10, seed=3, min_terms=3, max_terms=4)[0]
    assert worked_sums(40, seed=3, min_terms=3, max_terms=4)[0][:10] == short
    assert worked_sums(10, seed=4, min_terms=3, max_terms=4)[0] != short


def test_more_sums_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="distinct sums of 2 to 2 terms"):
        worked_sums(500, seed=0, min_terms=2, max_terms=2)
