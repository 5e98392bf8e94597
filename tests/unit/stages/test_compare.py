"""Comparing two runs: paired by model, task and problem, over shared problems only."""

from pathlib import Path

import pytest

from burnish.errors import RunError
from burnish.stages.compare import compare_runs
from tests.unit.stages.made_run import make_run


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", num_problems=20)
    found = compare_runs(run, run)
    assert {(r.model, r.task) for r in found.rows} >= {("sft", "chain_sum"), ("ppo", "everyday")}
    assert all(r.difference.estimate == 0 and r.test.p == 1 for r in found.rows)
    assert {r.metric for r in found.rows if r.task == "everyday"} == {"score"}
    assert not found.only_a


def test_only_shared_problems_are_compared_and_the_rest_is_counted(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", num_problems=20)
    b = make_run(tmp_path / "b", num_problems=30)
    row = next(r for r in compare_runs(a, b).rows if (r.model, r.task) == ("grpo", "chain_sum"))
    assert (row.a.n, row.b.n, row.difference.n) == (20, 20, 20)
    assert (row.only_a, row.only_b) == (0, 10)
    assert row.difference.estimate == pytest.approx(row.b.estimate - row.a.estimate)


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", num_problems=6)
    half = make_run(tmp_path / "half", until="sft", num_problems=6)
    with pytest.raises(RunError, match="no finished evaluation"):
        compare_runs(a, half)
