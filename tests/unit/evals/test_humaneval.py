"""HumanEval's own solutions all pass, and functions without a body do not."""

import json

import pytest

from burnish.errors import ConfigError
from burnish.evals.humaneval import problems, reference_solutions, summary
from burnish.types import Problem
from burnish.verifiers.code import verify_all
from tests.unit.sandbox.boxes import needs_boxes

USES_THE_PROMPTS_FUNCTIONS = ("HumanEval/32", "HumanEval/38", "HumanEval/50")


def source(problem: Problem) -> str:
    return str(json.loads(problem.meta)["source"])


def test_there_are_164_different_problems_that_show_no_tests() -> None:
    found = problems()
    assert len(found) == len({p.id for p in found}) == 164
    for problem in found:
        meta = json.loads(problem.meta)
        assert meta["entry_point"] in problem.prompt.last_user
        assert "def check(" in meta["tests"]
        assert "check(candidate)" not in problem.prompt.last_user


@needs_boxes
def test_reference_solutions_pass_and_stubs_fail_on_a_sample() -> None:
    found = problems()
    sample = [*found[::10], *(p for p in found if source(p) in USES_THE_PROMPTS_FUNCTIONS)]
    judge(sample)
    assert len(sample) == 20


@pytest.mark.slow
@needs_boxes
def test_reference_solutions_pass_and_stubs_fail_on_all() -> None:
    judge(problems())


def judge(sample: list[Problem]) -> None:
    right, own = reference_solutions(), {p.id: json.loads(p.meta)["prompt_code"] for p in sample}
    whole = verify_all([(p, f"So:\n```python\n{right[p.id]}```\nDone.") for p in sample])
    assert [(source(p), v.why) for p, v in zip(sample, whole, strict=True) if not v.passed] == []
    bodies = [(p, right[p.id].removeprefix(own[p.id])) for p in sample]
    continued = verify_all([(p, body + "\n\nprint(1 / 0)\n") for p, body in bodies])
    assert [
        (source(p), v.why) for p, v in zip(sample, continued, strict=True) if not v.passed
    ] == []
    for stub in ("    pass\n", "    return None\n"):
        empty = verify_all([(p, own[p.id] + stub) for p in sample])
        assert [source(p) for p, v in zip(sample, empty, strict=True) if v.score != 0.0] == []


def test_pass_at_k_is_the_mean_over_problems_of_the_unbiased_estimate() -> None:
    rows = [{"problem": "a", "passed": passed} for passed in (True, False, False, None)]
    rows += [{"problem": "b", "passed": False} for _ in range(4)]
    # a: one of four: pass@1 = 1/4, pass@2 = 1 - C(3,2)/C(4,2) = 1/2; b: 0.
    found = summary(rows, (1, 2))
    assert found["pass@1"].estimate == pytest.approx(1 / 8)
    assert found["pass@2"].estimate == pytest.approx(1 / 4)
    with pytest.raises(ConfigError, match="pass@5 needs 5"):
        summary(rows, (5,))
    single = summary([{"problem": i, "passed": i < 3} for i in range(10)])["pass@1"]
    assert (single.estimate, single.method) == (0.3, "Wilson")
