"""Evaluating from the command line: which problems, what is printed, what is written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish import cli, rng
from burnish.cli import evaluating
from burnish.cli.evaluating import find_problems, summary
from burnish.data.store import read_rows
from burnish.errors import ConfigError, DataError
from burnish.pipeline.run import Run
from burnish.stages.load import EverydayProblems
from tests.unit.cli.tiny_model import write_model, write_run

Eval = Callable[..., tuple[int, str, str]]
MINE = [{"prompt": f"What is {i} + 1? End with Answer:", "answer": str(i + 1)} for i in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "one")


@pytest.fixture
def evaluate(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Eval:
    def call(*args: str, of: str | Path = model) -> tuple[int, str, str]:
        short = ["--max-new-tokens", "6", "--num", "5"]
        monkeypatch.setattr(sys, "argv", ["burnish", "eval", str(of), *short, *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def mine(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in MINE))
    return path


def test_sums_are_scored_with_an_interval_and_written_as_rows(
    evaluate: Eval, tmp_path: Path
) -> None:
    code, out, _ = evaluate("--out", str(tmp_path / "out"))
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == [
        "chain_sum", "accuracy", "95", "%", "interval", "problems", "mean", "tokens",
    ]  # fmt: skip
    assert lines[1].split()[:6] == ["one", "0.000", "0.000", "to", "0.434", "5"]
    rows = read_rows(tmp_path / "out" / "scores.jsonl")
    assert len(rows) == 5 and {r["model"] for r in rows} == {"one"}
    assert set(rows[0]) == {
        "model", "task", "problem", "prompt", "completion", "score", "passed", "tokens", "finish",
    }  # fmt: skip


def test_two_models_answer_the_same_problems_and_are_paired(evaluate: Eval, tmp_path: Path) -> None:
    other = write_model(tmp_path / "two", seed=1)
    code, out, err = evaluate("--task", "everyday", "--against", str(other))
    assert code == 0 and "[2/2] two" in err
    assert "score" in out and "difference" in out and "paired, " in out
    assert "of 10 completions cut at 6 tokens" in out


def test_a_file_of_problems_is_a_task_named_after_it(evaluate: Eval, tmp_path: Path) -> None:
    code, out, _ = evaluate("--task", str(mine(tmp_path / "mine.jsonl")))
    assert code == 0 and out.startswith("mine  ")


def test_a_run_brings_its_own_held_out_problems_and_seed(evaluate: Eval, tmp_path: Path) -> None:
    heldout = [{"prompt": {"messages": [{"role": "user", "content": r["prompt"]}]}} for r in MINE]
    rows = [h | {"task": "own", "answer": "1", "meta": "{}"} for h in heldout]
    run = write_run(
        tmp_path / "run", write_model(tmp_path / "m"), "".join(json.dumps(r) + "\n" for r in rows)
    )
    code, out, err = evaluate("--task", "mine", "--num", "9", of=run)
    assert code == 0 and out.startswith("own  ") and "mine has 6 problems, not 9" in err
    assert "\ndpo " in out
    assert "\nsft " in evaluate("--against", "sft", "--task", "mine", of=run)[1]
    assert "is the same model" in evaluate("--against", f"{run}:dpo", of=run)[2]
    assert find_problems("sums", Run.open(run), 3) == find_problems("sums", None, 3)


def test_everyday_problems_are_those_a_quickstart_with_the_seed_holds_out() -> None:
    stage = EverydayProblems(num_train=560, num_heldout=240)
    assert find_problems("everyday", None, 5) == stage.split(rng.key(5, "everyday"))[1]
    with pytest.raises(ConfigError, match="no task sum; did you mean `sums`"):
        find_problems("sum", None, 0)


def row(model: str, problem: int, score: float | None, passed: bool | None) -> dict[str, object]:
    return {
        "model": model,
        "task": "t",
        "problem": str(problem),
        "score": score,
        "passed": passed,
        "tokens": 3,
        "finish": "stop",
    }


def test_the_difference_is_over_problems_that_both_scored() -> None:
    a = [row("a", i, 1.0, True) for i in range(8)]
    b = [row("b", i, 0.0, False) for i in range(7)] + [row("b", 7, None, None)]
    lines = list(summary({"a": a, "b": b}, 9))
    assert lines[3].split()[:2] == ["difference", "+1.000"] and " 7  " in lines[3]
    assert "exact McNemar p = 0.016" in lines[3]
    assert lines[4] == "1 of 16 completions without a score left out"


def test_problems_that_nothing_can_score_are_refused() -> None:
    with pytest.raises(DataError, match="no problem has an answer or a rubric"):
        list(summary({"a": [row("a", 0, None, None)]}, 9))


def test_what_is_wrong_is_one_line(evaluate: Eval, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "answer": "b"}\n{"answer": "b"}\n')
    for args, words in (
        (("--task", str(bad)), f"{bad}:2: "),
        (("--task", str(tmp_path / "none.jsonl")), "none.jsonl"),
        (("--num", "0"), "--num must be at least 1"),
        (("--stage", "sft"), "is no run"),
    ):
        code, out, err = evaluate(*args)
        assert code in (1, 2) and not out and words in err and err.count("\n") == 1


def test_a_suite_reports_its_own_numbers(evaluate: Eval, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Say {i} and nothing else.",
            "instruction_id_list": ["punctuation:no_comma", "startend:quotation"],
            "kwargs": [{}, {}],
        }
        for i in range(6)
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    other = write_model(tmp_path / "two", seed=1)
    given = ("--suite", "ifeval", "--data", str(tmp_path))
    code, out, err = evaluate(*given, "--against", str(other), "--out", str(tmp_path / "out"))
    assert code == 0, err
    names = [line[:25].strip() for line in out.splitlines()[1:13:3]]
    assert names == [
        "prompt-level strict",
        "instruction-level strict",
        "prompt-level loose",
        "instruction-level loose",
    ]
    assert out.count("difference") == 4 and "one: 5 problems" in out
    code, out, _ = evaluate("--task", str(path))  # as a task, with the same verifier
    assert code == 0 and out.startswith("instruction_following  accuracy")
    found = read_rows(tmp_path / "out" / "scores.jsonl")
    assert len(found) == 10 and {"instructions", "strict", "loose"} <= set(found[0])


def test_a_suite_that_was_stopped_goes_on_where_it_was(
    evaluate: Eval, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"question": f"{i} + 1?", "answer": f"So.\n#### {i + 1}"} for i in range(5)]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluating, "BLOCK", 2)
    asked: list[int] = []
    draw = evaluating.draw_samples

    def stopping(*args: Any, **kwargs: Any) -> Any:
        asked.append(len(args[1]))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return draw(*args, **kwargs)

    monkeypatch.setattr(evaluating, "draw_samples", stopping)
    given = ("--suite", "gsm8k", "--data", str(path), "--temperature", "1")
    assert evaluate(*given)[0] != 0
    assert asked == [2, 2, 1]
    code, _, _ = evaluate(*given, "--out", str(tmp_path / "stopped"))
    assert code == 0 and asked == [2, 2, 1, 1]
    code, _, _ = evaluate(*given, "--out", str(tmp_path / "whole"))  # nothing is kept at the end
    assert code == 0 and asked[4:] == [2, 2, 1]
    stopped, whole = (read_rows(tmp_path / n / "scores.jsonl") for n in ("stopped", "whole"))
    assert stopped == whole and len(whole) == 5
    monkeypatch.setattr(evaluating, "draw_samples", draw)
    assert evaluate(*given, "--seed", "1")[0] == 0


def test_a_suite_needs_its_data_and_excludes_a_task(evaluate: Eval, tmp_path: Path) -> None:
    code, _, err = evaluate("--suite", "ifeval")
    assert code == 2 and "--data" in err and "prompts.jsonl" in err
    assert "exclude each other" in evaluate("--suite", "ifeval", "--task", "sums")[2]
    assert "belongs to --suite" in evaluate("--data", str(tmp_path))[2]
    assert "no suite ifevl" in evaluate("--suite", "ifevl")[2]
