"""A Python script in a process of its own that answers questions, and can be killed.

For what may take for ever or fill the memory on a text that a model wrote. Started when first
needed, kept between questions, killed when late, replaced after that or after many questions. Any
thread may ask; a forked process gets its own.
"""

import atexit
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from burnish.errors import ConfigError

START_S = 120.0
"""Importing sympy takes a second, and much longer on a busy machine."""
CALLS = 2000
"""After so many a fresh process takes over: sympy keeps what it has seen."""


class NoAnswer(Exception):
    """The question was not answered in time, or ended the process."""


class AnsweringProcess:
    """One script and whoever waits for it: one question, one line of answer at a time.

    The script writes `ready`, then a line for each line that it reads. `m`, for out of memory, has
    it replaced.
    """

    def __init__(self, script: str, missing: str) -> None:
        """`script` lies beside this file; `missing` says what is wrong where it cannot start."""
        self._script, self._missing = Path(__file__).with_name(script), missing
        self._workers: dict[int, _Worker] = {}

    def ask(self, question: str, timeout_s: float) -> str:
        """The answer.

        Raises:
            NoAnswer: there is none; says why.
            ConfigError: the script cannot be started.
        """
        return self._of_this_process().ask(question, timeout_s)

    def _of_this_process(self) -> "_Worker":
        """By process id: after a fork, the parent's pipes and lock are not to be touched."""
        owner = os.getpid()
        found = self._workers.get(owner)
        if found is None:
            found = self._workers.setdefault(owner, _Worker(self._script, self._missing))
            atexit.register(found.close, owner)
        return found


class _Worker:
    def __init__(self, script: Path, missing: str) -> None:
        self._script, self._missing = script, missing
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def ask(self, question: str, timeout_s: float) -> str:
        with self._lock:
            for _ in range(2):
                if self._process is None or self._calls >= CALLS:
                    self._start()
                fresh = self._calls == 0
                self._calls += 1
                reply = self._exchange(question, timeout_s)
                if reply not in ("", "m", "late"):
                    return reply
                self._stop()
                if reply == "late":
                    raise NoAnswer(f"the comparison took longer than {timeout_s:g} s")
                if fresh:  # else its memory may have been full before: once more, from nothing
                    break
        raise NoAnswer("the comparison ended its process or ran out of memory")

    def _start(self) -> None:
        self._stop()
        # -P: or the modules beside the script would stand before the standard library's
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(self._script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._calls = 0
        if self._line(self._process, START_S) != "ready":
            self._stop()
            raise ConfigError(self._missing)

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
