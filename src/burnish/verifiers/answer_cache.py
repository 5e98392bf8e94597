"""Answers kept on disk, so that no question is asked, or paid for, twice.

One JSON object a line, only ever appended: under a lock and in one write, so that several processes
may share a file and one that is killed spoils at most its last line. Such a line is passed over and
counted. Questions are kept as hashes only; nothing of a key ever comes here.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path

from burnish.types import content_hash
from burnish.verifiers.chat import Answer, Chat, OnAnswer, Question, Usage


class AnswerCache:
    """The answers of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: dict[str, Answer] = {}
        self.num_damaged = 0
        """Lines that are no answers, such as a line cut off by a kill."""
        if path.exists():
            for line in path.read_bytes().split(b"\n"):
                self._take(line)

    def get(self, key: str) -> Answer | None:
        """The answer that came first, if there is one."""
        return self._answers.get(key)

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; the first one of a key stays."""
        if key in self._answers:
            return
        self._answers[key] = answer
        row = {
            "key": key,
            "text": answer.text,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            end = os.lseek(handle, 0, os.SEEK_END)
            torn = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
            # ASCII, so that half of a surrogate pair in an answer can be written too.
            _write(handle, b"\n" * torn + json.dumps(row).encode("ascii") + b"\n")
        finally:
            os.close(handle)

    def _take(self, line: bytes) -> None:
        if not line:
            return
        try:
            row = json.loads(line)
            key, text = row["key"], row["text"]
            counts = [row["prompt_tokens"], row["completion_tokens"]]
        except (ValueError, KeyError, TypeError):
            self.num_damaged += 1
            return
        numbers = all(n is None or isinstance(n, int) for n in counts)
        if not (isinstance(key, str) and isinstance(text, str) and numbers):
            self.num_damaged += 1
            return
        found = Answer(text=text, prompt_tokens=counts[0], completion_tokens=counts[1])
        self._answers.setdefault(key, found)


class CachedChat:
    """Another chat, asked only what is not in the cache; it counts what that costs."""

    def __init__(self, chat: Chat, cache: AnswerCache) -> None:
        self._chat = chat
        self._cache = cache
        self.usage = Usage()

    @property
    def name(self) -> str:
        return self._chat.name

    @property
    def num_damaged(self) -> int:
        """Lines of the cache that could not be read."""
        return self._cache.num_damaged

    def ask_all(
        self, questions: Sequence[Question], *, on_answer: OnAnswer | None = None
    ) -> list[Answer]:
        """As `Chat.ask_all`; equal questions are asked once."""
        keys = [question_key(self.name, question) for question in questions]
        fresh: dict[str, int] = {}
        for i, key in enumerate(keys):
            if self._cache.get(key) is None:
                fresh.setdefault(key, i)
        asked = list(fresh.values())
        waiting = set(asked)
        self.usage.cached += len(questions) - len(asked)

        def came(index: int, answer: Answer) -> None:
            self.usage.add(answer)
            self._cache.put(keys[asked[index]], answer)
            if on_answer is not None:
                on_answer(asked[index], answer)

        if asked:
            self._chat.ask_all([questions[i] for i in asked], on_answer=came)
        answers = []
        for i, key in enumerate(keys):
            answer = self._cache.get(key)
            assert answer is not None, "a chat must tell of every answer"
            answers.append(answer)
            if i not in waiting and on_answer is not None:
                on_answer(i, answer)
        return answers


def question_key(chat: str, question: Question) -> str:
    """32 hex digits of what an answer depends on."""
    sampling = f"{question.seed} {question.temperature!r} {question.max_tokens}"
    sampling += "".join(f" {choice!r}" for choice in question.choices)
    parts = [part for m in question.messages for part in (m.role, m.content)]
    return content_hash("question", chat, sampling, *parts) + content_hash(*parts, sampling, chat)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
