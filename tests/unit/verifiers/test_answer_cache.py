"""Answers on disk: asked once, shared between processes, and whole after a kill."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.verifiers.answer_cache import AnswerCache, CachedChat, question_key
from burnish.verifiers.chat import Answer, Question
from tests.scripted import Scripted


def question(text: str, seed: int = 1, temperature: float = 1.0) -> Question:
    return Question.of(text, seed=seed, temperature=temperature, max_tokens=9)


def test_a_question_is_asked_once_and_paid_for_once(tmp_path: Path) -> None:
    inner = Scripted(str.upper)
    told: list[tuple[int, str]] = []
    chat = CachedChat(inner, AnswerCache(tmp_path / "c.jsonl"))
    asked = [question("a"), question("b"), question("a")]
    answers = chat.ask_all(asked, on_answer=lambda i, a: told.append((i, a.text)))
    assert [a.text for a in answers] == ["A", "B", "A"]
    assert sorted(told) == [(0, "A"), (1, "B"), (2, "A")]
    assert (chat.usage.asked, chat.usage.cached, chat.usage.prompt_tokens) == (2, 1, 10)
    again = CachedChat(inner, AnswerCache(tmp_path / "c.jsonl"))
    assert [a.text for a in again.ask_all(asked)] == ["A", "B", "A"]
    assert len(inner.asked) == 2 and again.usage.asked == 0 and again.usage.prompt_tokens == 0


def test_whatever_an_answer_depends_on_is_in_the_key() -> None:
    plain = question("a")
    others = [
        question_key("m", question("b")),
        question_key("m", question("a", seed=2)),
        question_key("m", question("a", temperature=0.5)),
        question_key("n", plain),
        question_key("m", Question(messages=plain.messages, seed=1, temperature=1.0, max_tokens=8)),
    ]
    assert len({question_key("m", plain), *others}) == 6
    assert question_key("m", question("a", 1, 0.0)) == question_key("m", question("a", 2, 0.0))


def test_a_torn_last_line_is_passed_over_counted_and_not_written_onto(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    cache = AnswerCache(file)
    cache.put("k1", Answer(text="one"))
    cache.put("k2", Answer(text="two"))
    file.write_bytes(file.read_bytes()[:-9])
    again = AnswerCache(file)
    assert again.num_damaged == 1
    assert again.get("k1") == Answer(text="one") and again.get("k2") is None
    again.put("k2", Answer(text="new"))
    third = AnswerCache(file)
    assert third.num_damaged == 1 and third.get("k2") == Answer(text="new")


def test_lines_that_are_no_answers_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    good = {"key": "k", "text": "x", "prompt_tokens": None, "completion_tokens": 3}
    bad = [b"[]", b"{}", b"\xff", b'"x"', json.dumps(good | {"text": 3}).encode()]
    bad.append(json.dumps(good | {"prompt_tokens": "many"}).encode())
    file.write_bytes(b"\n".join([*bad, json.dumps(good).encode(), b""]))
    cache = AnswerCache(file)
    assert cache.num_damaged == len(bad)
    assert cache.get("k") == Answer(text="x", completion_tokens=3)


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    text = "a\nb\u2028c\x00d \ud800 é 🙂"
    AnswerCache(tmp_path / "c.jsonl").put("k", Answer(text=text))
    assert AnswerCache(tmp_path / "c.jsonl").get("k") == Answer(text=text)


def test_processes_that_write_at_once_spoil_no_line(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from burnish.verifiers.answer_cache import AnswerCache\n"
        "from burnish.verifiers.chat import Answer\n"
        "cache = AnswerCache(Path(sys.argv[1]))\n"
        "for i in range(100): cache.put(f'{sys.argv[2]}-{i}', Answer(text=sys.argv[2] * 5000))\n"
    )
    file = tmp_path / "c.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in ("a", "b", "c")
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    cache = AnswerCache(file)
    assert cache.num_damaged == 0
    assert all(cache.get(f"{n}-{i}") == Answer(text=n * 5000) for n in "abc" for i in range(100))


def test_answers_so_far_are_kept_when_a_later_one_fails(tmp_path: Path) -> None:
    def fails(text: str) -> str:
        if text == "c":
            raise RuntimeError
        return text

    chat = CachedChat(Scripted(fails), AnswerCache(tmp_path / "c.jsonl"))
    with pytest.raises(RuntimeError):
        chat.ask_all([question("a"), question("b"), question("c")])
    kept = AnswerCache(tmp_path / "c.jsonl")
    assert kept.get(question_key("scripted", question("b"))) is not None
