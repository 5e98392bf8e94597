"""The command that tries verifiers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish import cli
from burnish.evals import cases_table
from burnish.types import Problem, Verdict

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["burnish", "verify-bench", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_a_verifier_without_errors_is_shown_kind_by_kind(bench: Bench, tmp_path: Path) -> None:
    code, out, _ = bench("choice", "--num", "4", "--out", str(tmp_path / "found.json"))
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("all choices"))
    assert row.split("  ")[0] == "all choices" and "0 of 4" in row and "0.0% to 49.0%" in row
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert found["verifier"] == "choice" and found["verdicts_per_s"] > 0
    assert {k["kind"] for k in found["kinds"]} >= {"empty", "hedge", "right: bold"}
    assert found["total"]["false_accepts"]["errors"] == 0


def test_errors_are_shown_with_an_example_and_fail_the_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lenient(problem: Problem, completion: str) -> Verdict:
        passed = problem.answer in completion
        return Verdict(score=float(passed), passed=passed)

    table = dict(cases_table.CASES)
    monkeypatch.setattr(cases_table, "CASES", table | {"exact": (lenient, table["exact"][1])})
    code, out, err = bench("exact", "--num", "4")
    assert code == 1
    assert "hedge, accepted by mistake: 'Answer: " in out
    assert "error: exact, hedge: 100.0% false accepts, limit 0.0%" in err
    assert bench("exact", "--num", "4", "--max-false-accepts", "1")[0] == 0
    code, out, _ = bench("exact", "--num", "4", "--json")
    assert code == 1 and json.loads(out)[0]["verifier"] == "exact"


def test_wrong_options_are_refused(bench: Bench, tmp_path: Path) -> None:
    assert bench("exakt") == (
        2,
        "",
        "error: no cases for a verifier exakt; did you mean `exact`?\n",
    )
    assert bench("exact", "--num", "0")[0] == 2
    assert bench("exact", "--max-false-accepts", "2")[0] == 2
    assert bench("exact", "--num", "1", "--out", str(tmp_path / "no" / "x.json"))[0] == 1
