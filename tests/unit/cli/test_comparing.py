"""Comparing two runs from the command line."""

import sys
from pathlib import Path

import pytest

from burnish import cli
from burnish.cli.comparing import differences
from tests.unit.stages.made_run import make_run


def test_two_runs_are_shown_side_by_side_with_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = make_run(tmp_path / "a", num_problems=20)
    b = make_run(tmp_path / "b", num_problems=30)
    (b / "recipe.yaml").write_text((b / "recipe.yaml").read_text().replace("seed: 7", "seed: 8"))
    monkeypatch.setattr(sys, "argv", ["burnish", "compare", str(a), str(b)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    out = capsys.readouterr().out
    assert not caught.value.code
    (row,) = [line for line in out.splitlines() if "chain_sum" in line and " grpo " in line]
    assert row.split()[-1] == "20" and " to +" in row
    assert "problems that only one run scored are left out" in out
    assert out.endswith("recipes\n      A  B\nseed  7  8\n")


def test_recipes_differ_by_dotted_key_and_what_one_lacks_is_a_dash() -> None:
    a = {"name": "a", "stages": {"sft": {"lr": 0.1, "data": ["x"]}, "old": {}}}
    b = {"name": "b", "stages": {"sft": {"lr": 0.2, "data": ["x"], "passes": {"epochs": 2}}}}
    assert list(differences(a, b)) == [
        ("sft.lr", "0.1", "0.2"),
        ("old", "{}", "-"),
        ("sft.passes.epochs", "-", "2"),
    ]
