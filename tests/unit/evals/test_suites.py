"""Suites: where problems come from, what a row says, and the numbers made of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.evals.gsm8k import GSM8K, answered
from burnish.evals.humaneval import HUMANEVAL
from burnish.evals.ifeval import IFEVAL
from burnish.evals.suites import SUITES, find_suite
from burnish.types import Conversation, Problem

SHARED = Path(__file__).parents[4] / "shared" / "data"
QUOTED = {
    "prompt": "Say it.",
    "instruction_id_list": ["startend:quotation", "punctuation:no_comma"],
    "kwargs": [{}, {}],
}


def _written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(suite: str, problem: Problem, text: str, **fields: Any) -> dict[str, Any]:
    return {"score": 1.0, **SUITES[suite].details(problem, text), **fields}


def test_the_four_numbers_of_ifeval(tmp_path: Path) -> None:
    problems, _ = IFEVAL.problems(str(_written(tmp_path / "own.jsonl", QUOTED)))
    texts = ['"Both."', '"One, two."', 'Sure:\n"Loose."', "None, of them."]
    rows = [_row("ifeval", problems[0], text) for text in texts]
    assert rows[2]["strict"] == [0.0, 1.0] and rows[2]["loose"] == [1.0, 1.0]
    assert rows[0]["instructions"] == QUOTED["instruction_id_list"]
    found = {m.name: m.interval(rows) for m in IFEVAL.measures}
    # Prompts: strictly 1 of 4, loosely 2. Instructions: 2 + 1 + 1 + 0 of 8, loosely 2 + 1 + 2 + 0.
    assert {name: interval.estimate for name, interval in found.items()} == {
        "prompt-level strict": 0.25,
        "instruction-level strict": 0.5,
        "prompt-level loose": 0.5,
        "instruction-level loose": 0.625,
    }
    assert [interval.n for interval in found.values()] == [4, 8, 4, 8]
    assert all(i.low < i.estimate < i.high for i in found.values())


def test_differences_are_paired_and_leave_out_what_has_no_score(tmp_path: Path) -> None:
    problem = IFEVAL.problems(str(_written(tmp_path / "own.jsonl", QUOTED)))[0][0]
    a = [_row("ifeval", problem, '"Both."') for _ in range(4)]
    b = [_row("ifeval", problem, '"One, two."') for _ in range(4)]
    b[3]["score"] = None
    strict, parts = IFEVAL.measures[:2]
    assert (strict.difference(a, b).estimate, strict.difference(a, b).n) == (1.0, 3)
    assert (parts.difference(a, b).estimate, parts.difference(a, b).n) == (0.5, 6)
    assert strict.interval(b).n == 3


def test_gsm8k_tells_wrong_from_not_answered_and_from_cut() -> None:
    problem = Problem(prompt=Conversation.of("2 + 2?"), task="gsm8k", answer="4")
    assert answered(problem, "It is so. Answer: 4")
    assert answered(problem, "It is so. Answer: 5")
    assert not answered(problem, "I do not know.")
    rows = [
        _row("gsm8k", problem, "Answer: 4", passed=True, finish="stop"),
        _row("gsm8k", problem, "Answer: 5", passed=False, finish="stop"),
        _row("gsm8k", problem, "Well", passed=False, finish="length"),
        _row("gsm8k", problem, "I pass.", passed=False, finish="stop"),
    ]
    found = {m.name: m.interval(rows).estimate for m in GSM8K.measures}
    assert found == {"accuracy": 0.25, "no answer to read": 0.5, "cut at the limit": 0.25}


def test_gsm8k_asks_for_the_form_of_the_answer(tmp_path: Path) -> None:
    row = {"question": "Two and two?", "answer": "2 + 2 = 4\n#### 4"}
    problems, _ = GSM8K.problems(str(_written(tmp_path / "test.jsonl", row)))
    text = problems[0].prompt.last_user
    assert "Two and two?" in text and text.count("Answer:") == 1
    assert (problems[0].task, problems[0].answer) == ("gsm8k", "4")


def test_humaneval_needs_no_data_and_counts_what_passes() -> None:
    problems, counts = HUMANEVAL.problems(None)
    assert len(problems) == 164 and counts == {} and {p.task for p in problems} == {"code"}
    rows = [
        {"score": 1.0, "passed": True, "finish": "stop"},
        {"score": 0.0, "passed": False, "finish": "length"},
    ]
    found = {m.name: m.interval(rows).estimate for m in HUMANEVAL.measures}
    assert found == {"pass@1": 0.5, "cut at the limit": 0.5}


def test_a_directory_is_searched_for_the_suites_own_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of prompts.jsonl, .* is there; give the file"):
        IFEVAL.problems(str(tmp_path))
    _written(tmp_path / "input_data.jsonl", QUOTED)
    problems, counts = IFEVAL.problems(str(tmp_path))
    assert len(problems) == 1 and counts == {"rows": 1, "used": 1}


def test_no_data_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match=r"reads its problems from --data: .*prompts\.jsonl"):
        IFEVAL.problems(None)
    with pytest.raises(ConfigError, match="no suite ifevl; did you mean `ifeval`"):
        find_suite("ifevl")


def test_problems_that_cannot_be_judged_are_refused_before_sampling(tmp_path: Path) -> None:
    wrong = QUOTED | {"instruction_id_list": ["startend:quotation", "punctuation:no_coma"]}
    path = _written(tmp_path / "own.jsonl", QUOTED, wrong)
    with pytest.raises(DataError, match=r"own\.jsonl: problem 'Say it\.'.*no_coma"):
        IFEVAL.problems(str(path))
    with pytest.raises(DataError, match="no reference answer"):
        GSM8K.problems(str(_written(tmp_path / "b.jsonl", {"prompt": "2 + 2?"})))
    other = {"prompt": "2 + 2?", "task": "sums", "answer": "4"}
    with pytest.raises(DataError, match="of the task sums; ifeval has instruction_following"):
        IFEVAL.problems(str(_written(tmp_path / "c.jsonl", other)))


@pytest.mark.parametrize(("name", "number"), [("ifeval", 541), ("gsm8k", 1319)])
def test_the_published_files_are_read_whole(name: str, number: int) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"shared/data/{name} is not there")
    problems, counts = SUITES[name].problems(str(folder))
    assert len(problems) == number and counts == {"rows": number, "used": number}
