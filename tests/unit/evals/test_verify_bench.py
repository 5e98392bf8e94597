"""The bench of verifiers: that it counts right, and that what ships passes it."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import get_args, get_type_hints

import pytest

from burnish import verifiers
from burnish.evals.cases_table import CASES, TRIED_BY
from burnish.evals.verify_bench import FULL_MARKS, bench_verifier
from burnish.stages.annotate import JudgeAnnotator
from burnish.types import Conversation, Problem, Verdict
from burnish.verifiers.cases import Case
from burnish.verifiers.combine import Reward
from burnish.verifiers.likelihood_judge import PairwiseLikelihood, PointwiseLikelihood
from burnish.verifiers.user_function import UserFunction
from burnish.verifiers.verify import VERIFIERS

PROBLEM = Problem(prompt=Conversation.of("1 + 1?"), task="exact", answer="2")


def made(num: int, seed: int) -> Sequence[Case]:
    """Of each ten attacks three pass, of each ten right answers one fails and one is not scored."""
    rows = [("attack", False, i % 10 < 3, 1.0) for i in range(num)]
    rows += [("right", True, i % 10 != 0, None if i % 10 == 1 else 1.0) for i in range(num)]
    return [
        Case(problem=PROBLEM, completion=f"{passed} {score} {seed}", passes=passes, kind=kind)
        for kind, passes, passed, score in rows
    ]


def judge(problem: Problem, completion: str) -> Verdict:
    passed, score, _ = completion.split()
    if score == "None":
        return Verdict(score=None)
    return Verdict(score=float(passed == "True"), passed=passed == "True", why="told so")


def test_errors_are_counted_by_kind_with_an_interval_and_an_example() -> None:
    score = bench_verifier("made", judge, made, num=20, seed=7)
    attack, right = score.kinds
    assert (attack.num, attack.num_wrong, attack.false_accepts, attack.unscored) == (20, 20, 6, 0)
    assert (right.num, right.num_right, right.false_rejects, right.unscored) == (20, 20, 2, 2)
    # Wilson's interval of 6 of 20, by hand: (.3 + z2/40 +- z sqrt(.21/20 + z2/1600)) / (1 + z2/20)
    z2 = 1.959964**2
    half = math.sqrt(z2 * (0.21 / 20 + z2 / 1600))
    rate = attack.false_accept_rate
    assert rate.low == pytest.approx((0.3 + z2 / 40 - half) / (1 + z2 / 20), abs=1e-6)
    assert math.isnan(attack.false_reject_rate.estimate)
    assert attack.accepted == "'True 1.0 7'" and right.rejected == "'False 1.0 7': told so"
    assert (score.total.num, score.total.false_accepts, score.total.unscored) == (40, 6, 2)


def test_limits_are_on_each_kind() -> None:
    score = bench_verifier("made", judge, made, num=20, seed=7)
    assert score.over(0.3, 0.1) == []
    assert score.over(0.29, 0.1) == ["made, attack: 30.0% false accepts, limit 29.0%"]
    assert score.over(0.3, 0.0) == ["made, right: 10.0% false rejects, limit 0.0%"]


def test_a_grade_passes_with_full_marks_only() -> None:
    def grade(value: float) -> int:
        def cases(num: int, seed: int) -> Sequence[Case]:
            return [Case(problem=PROBLEM, completion="", passes=False, kind="attack")] * num

        score = bench_verifier("g", lambda p, c: Verdict(score=value), cases, num=1, seed=0)
        return score.total.false_accepts

    assert (grade(FULL_MARKS), grade(FULL_MARKS - 0.01)) == (1, 0)


def test_a_score_where_none_may_be_is_a_false_accept() -> None:
    def cases(num: int, seed: int) -> Sequence[Case]:
        return [Case(problem=PROBLEM, completion="", passes=None, kind="unreadable")] * num

    for score in (0.0, 1.0):
        made = bench_verifier("g", lambda p, c, s=score: Verdict(score=s), cases, num=3, seed=0)
        assert (made.total.false_accepts, made.total.num_wrong, made.total.unscored) == (3, 3, 0)
    none = bench_verifier("g", lambda p, c: Verdict(score=None), cases, num=3, seed=0)
    assert (none.total.false_accepts, none.total.unscored) == (0, 0)


def test_whatever_a_recipe_can_train_on_has_cases() -> None:
    judges = set(get_args(get_type_hints(JudgeAnnotator)["judge"]))
    judges -= {PairwiseLikelihood, PointwiseLikelihood}
    assert set(TRIED_BY) == (set(get_args(Reward)) - {UserFunction}) | judges
    assert {name for names in TRIED_BY.values() for name in names} == set(CASES)


def test_every_function_that_judges_a_completion_has_cases() -> None:
    """By its form, so that one that is written tomorrow and forgotten here fails."""
    tried = {verifier for verifier, _ in CASES.values()} | set(VERIFIERS.values())
    # The first two only pass on to others; the third is for reporting, beside the strict verdict.
    apart = {"verify_problem", "check", "loose_verdict"}
    found = {
        value
        for module in map(importlib.import_module, modules_of(verifiers))
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
        if list(inspect.signature(value).parameters) == ["problem", "completion"]
        if inspect.signature(value).return_annotation is Verdict and name not in apart
    }
    assert found <= tried
    assert len(found) >= len(VERIFIERS)


def modules_of(package: ModuleType) -> list[str]:
    """All but the scripts, which run in processes of their own."""
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [name for name in names if not name.endswith("_worker")]


def test_every_verifier_of_the_table_has_a_problem_of_its_own_task() -> None:
    for name in CASES.keys() & VERIFIERS.keys():
        assert {case.problem.task for case in CASES[name][1](1, 0)} == {name}


@pytest.mark.parametrize("name", sorted(CASES))
def test_cases_follow_the_seed_and_hold_enough_of_each_kind(name: str) -> None:
    make = CASES[name][1]
    cases = make(5, 1)
    assert cases == make(5, 1) and cases != make(5, 2)
    kinds = [case.kind for case in cases]
    assert all(kinds.count(kind) >= 5 for kind in kinds)
    assert {case.passes for case in cases} >= {True, False}


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"code"}))  # it has a test of its own
def test_what_ships_makes_no_error_on_its_cases(name: str) -> None:
    score = bench_verifier(name, *CASES[name], num=7, seed=3)
    wrong = [k for k in score.kinds if k.false_accepts or k.false_rejects or k.unscored]
    assert [(k.kind, k.accepted, k.rejected) for k in wrong] == []
