"""Every generated case gets the verdict that it was made for."""

from collections import Counter

from burnish.verifiers.cases_instruction_following import instruction_following_cases
from burnish.verifiers.instruction_following import loose_verdict
from burnish.verifiers.instructions.kinds import KINDS
from burnish.verifiers.verify import verify_problem


def test_every_case_gets_its_verdict() -> None:
    cases = instruction_following_cases(12, seed=3)
    wrong = [c for c in cases if verify_problem(c.problem, c.completion).passed is not c.passes]
    assert [(c.kind, c.completion, c.problem.meta) for c in wrong] == []


def test_there_are_enough_of_every_kind_and_they_differ() -> None:
    cases = instruction_following_cases(6, seed=0)
    number = Counter(case.kind for case in cases)
    assert min(number.values()) >= 6
    for kind in KINDS:
        assert number[f"follows {kind}"] == number[f"misses {kind} by one"] == 6
    assert {"empty answer", "white space", "the prompt given back"} <= number.keys()
    assert cases == instruction_following_cases(6, seed=0)
    assert cases != instruction_following_cases(6, seed=1)


def test_blank_answers_do_not_pass_loosely_either() -> None:
    for case in instruction_following_cases(3, seed=0):
        if case.kind in ("empty answer", "white space"):
            assert loose_verdict(case.problem, case.completion).score == 0.0
