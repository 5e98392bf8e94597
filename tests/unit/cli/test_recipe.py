"""`burnish recipe diff`: factors, fields of one side, rounds as one, and the list of recipes."""

from pathlib import Path

import pytest

from burnish.cli.inspect import recipes, show
from burnish.cli.recipe import changes, diff, scale

ROUNDS = """\
name: rounds
stages:
  base: {{stage: load_model, name: smollm2}}
  sums: {{stage: everyday_problems, num_train: {train}, num_heldout: 1}}
  improve:
    rounds: {rounds}
    start: {{model: base.model}}
    carry: {{model: tune.model}}
    stages:
      draw:
        stage: sample
        model: carried.model
        problems: sums.train
        num_problems: 4
        num_samples: 2
        draws: {{max_new_tokens: {tokens}}}
      tune:
        stage: sft
        model: carried.model
        data: [draw.completions]
        passes: {{batch_rows: 4}}
        optim: {{lr: {lr}}}
"""


@pytest.mark.parametrize(
    ("left", "right", "factor"),
    [
        ("128", "16", "1 / 8"),
        ("5e-06", "5e-05", "x 10"),
        ("4", "6", "x 1.5"),
        ("0.0", "1.0", ""),
        ("True", "False", ""),
        ("linear", "cosine", ""),
    ],
)
def test_a_number_is_shown_with_its_factor(left: str, right: str, factor: str) -> None:
    assert scale(left, right) == factor


def test_scaled_numbers_stand_first_and_fields_of_one_side_last() -> None:
    a = {"stage": "rl", "algorithm": {"ppo": {"clip": 0.2}}, "steps": 400, "model": "sft.model"}
    b = {"stage": "rl", "algorithm": {"grpo": {"kl": "k3"}}, "steps": 20, "model": "dpo.model"}
    found = [(c.kind, c.field, c.factor) for c in changes(a, b)]
    assert found == [
        ("scaled", "steps", "1 / 20"),
        ("changed", "model", ""),
        ("only in A", "algorithm.ppo.clip", ""),
        ("only in B", "algorithm.grpo.kl", ""),
    ]
    assert changes(a, a) == []


def test_what_one_side_leaves_out_is_as_none_and_long_values_are_cut() -> None:
    a = {"stage": "load_model", "shape": {"hidden_size": 8, "head_size": None}, "lock": "f" * 64}
    b = {"stage": "load_model", "shape": None, "lock": ""}
    found = [change.cells[:4] for change in changes(a, b)]
    assert found == [
        ["changed", "lock", "f" * 37 + "...", ""],
        ["only in A", "shape.hidden_size", "8", ""],
    ]


def test_of_two_types_of_stage_only_what_both_have_is_compared() -> None:
    a = {"stage": "load_data", "path": "x", "heldout": 10}
    b = {"stage": "everyday_problems", "num_train": 3, "heldout": 5}
    assert [(c.kind, c.field) for c in changes(a, b)] == [("type", "stage"), ("scaled", "heldout")]


def test_rounds_that_differ_alike_are_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(ROUNDS.format(train=40, rounds=3, tokens=64, lr=1e-6))
    (tmp_path / "b.yaml").write_text(ROUNDS.format(train=4, rounds=2, tokens=16, lr=1e-6))
    diff(str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"))
    out = capsys.readouterr().out
    assert out.count("draws.max_new_tokens") == 1 and "1 / 4" in out
    assert "\nimprove_1..2_draw\n" in out
    assert "the same in both: base, improve_1..2_tune" in out
    assert "only in A: improve_3_draw, improve_3_tune" in out


def test_show_says_how_sure_the_numbers_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = (
        'sources:\n  improve.rounds: "paper [rounds]: 2307.09288"\n'
        '  improve.tune.optim.lr: "not_reported [rate]: 2307.09288; ours"\n'
    )
    text = ROUNDS.format(train=40, rounds=2, tokens=64, lr=1e-6)
    (tmp_path / "a.yaml").write_text(text + sources)
    show(str(tmp_path / "a.yaml"))
    out = capsys.readouterr().out
    assert "\nsources: 2 not reported, 1 paper\n" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "improve_2_tune rounds paper 2307.09288" in lines
    assert "improve_1..2_tune.optim.lr 1e-06 rate not reported 2307.09288; ours" in lines
    show(str(tmp_path / "a.yaml"), ["improve.rounds=1", "improve.tune.optim.lr=1"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "improve_1_tune ours set on the command line" in lines
    assert "improve_1_tune.optim.lr 1.0 ours set on the command line" in lines


def test_recipes_of_the_literature_stand_apart_from_their_laptop_forms(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipes()
    full, laptop, others = capsys.readouterr().out.strip().split("\n\n")
    assert "  tulu3  " in full and "  quickstart  " in others
    assert "  tulu3-laptop  " in laptop and "  tulu3  " not in laptop + others
