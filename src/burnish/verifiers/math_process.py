"""Whether two LaTeX expressions are equal, asked of a process that can be killed.

math-verify (https://github.com/huggingface/Math-Verify) parses and simplifies; on a model's output
that may take for ever or fill the memory, and its own timeouts work in the main thread only. So it
runs in `burnish.verifiers.math_worker`: started when first needed, kept between calls, killed when
late, replaced after that or after many calls. Any thread may ask; a forked process gets its own.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import IO

from burnish.errors import ConfigError

TIMEOUT_S = 5.0
START_S = 120.0
"""Importing sympy takes a second, and much longer on a busy machine."""
CALLS = 2000
"""After so many a fresh process takes over: sympy keeps what it has seen."""
MAX_CHARS = 2000
MAX_NESTING = 40
"""Braces, brackets and parentheses in each other; deeper, the parser's own stack is in danger."""


@lru_cache(maxsize=20_000)
def equivalent(reference: str, answer: str, timeout_s: float = TIMEOUT_S) -> tuple[bool, str]:
    """Whether an answer equals the reference, both in LaTeX, and why not where it was not tried.

    Late, too large and too deep count as unequal. Not symmetric: `x = 5` is read as 5 where the
    reference is 5.

    Raises:
        ConfigError: math-verify cannot be started.
    """
    for text in (reference, answer):
        if len(text) > MAX_CHARS:
            return False, f"{len(text)} characters are too many to compare"
        if _nesting(text) > MAX_NESTING:
            return False, "nested too deep to compare"
    return _of_this_process().ask(json.dumps([reference, answer]), timeout_s)


class _Worker:
    """One process and whoever waits for it: one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def ask(self, question: str, timeout_s: float) -> tuple[bool, str]:
        """As `equivalent`."""
        with self._lock:
            for _ in range(2):
                if self._process is None or self._calls >= CALLS:
                    self._start()
                fresh = self._calls == 0
                self._calls += 1
                reply = self._exchange(question, timeout_s)
                if reply in ("0", "1"):
                    return reply == "1", ""
                self._stop()
                if reply == "late":
                    return False, f"the comparison took longer than {timeout_s:g} s"
                if fresh:  # else its memory may have been full before: once more, from nothing
                    break
        return False, "the comparison ended its process or ran out of memory"

    def _start(self) -> None:
        self._stop()
        script = str(Path(__file__).with_name("math_worker.py"))
        # -P: or the modules beside the script would stand before the standard library's
        self._process = subprocess.Popen(
            [sys.executable, "-P", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._calls = 0
        if self._line(self._process, START_S) != "ready":
            self._stop()
            raise ConfigError(
                "math-verify could not be started, which the task math needs; "
                "run: pip install math-verify"
            )

    def _exchange(self, question: str, timeout_s: float) -> str:
        process = self._process
        if process is None or process.stdin is None:
            return ""
        try:
            process.stdin.write(question.encode() + b"\n")
        except OSError:  # it was killed from outside
            return ""
        return self._line(process, timeout_s)

    def _line(self, process: subprocess.Popen[bytes], timeout_s: float) -> str:
        """The next line; "late" where it does not come in time, "" where the process is gone."""
        out: IO[bytes] | None = process.stdout
        if out is None:
            return ""
        line, until = b"", time.monotonic() + timeout_s
        waiting = select.poll()
        waiting.register(out, select.POLLIN)
        while not line.endswith(b"\n"):
            if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                return "late"
            read = os.read(out.fileno(), 64)
            if not read:
                return ""
            line += read
        return line.decode().strip()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def close(self, owner: int) -> None:
        """End the process, if this is the process that started it."""
        if os.getpid() == owner:
            self._stop()


_WORKERS: dict[int, _Worker] = {}
"""By process id: after a fork, the parent's pipes and lock are not to be touched."""


def _of_this_process() -> _Worker:
    owner = os.getpid()
    found = _WORKERS.get(owner)
    if found is None:
        found = _WORKERS.setdefault(owner, _Worker())
        atexit.register(found.close, owner)
    return found


def _nesting(text: str) -> int:
    deepest = depth = 0
    for char in text:
        if char in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "})]":
            depth -= 1
    return deepest
