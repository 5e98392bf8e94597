"""Worker processes for a user's reward function: a completion that hangs or kills is one answer.

A process is started when there is work for it, is killed when a call takes too long, and is
replaced when the next completion comes. Threads of this process wait for the answers, so that the
caller may sample meanwhile. Answers belong to what was asked: in which order they arrive, and how
many workers there are, changes none of them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from burnish.errors import RewardError
from burnish.types import content_hash
from burnish.verifiers.user_worker import LENGTH, Cause

START_S = 60.0
"""Loading the user's file may take so long."""
LARGEST_ANSWER = 4096
"""Bytes an answer to one sample may take."""
_LOOK_S = 0.2
"""How often a silent process is asked whether it is still there."""
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from burnish.verifiers.user_worker import main; main(sys.argv[2])"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every worker of a pool loads, and what each call may take."""

    path: str
    source: str
    function: str
    batched: bool
    timeout_s: float
    """For each sample of a call."""
    memory_mb: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What the function is given of one completion. `meta` is JSON text."""

    prompt: str
    completion: str
    answer: str
    meta: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A score, or the cause why there is none."""

    score: float | None
    cause: Cause | None = None
    why: str = ""


class WorkerPool:
    """At most `num` processes of one job; use as a context, or `close` it."""

    def __init__(self, job: Job, *, num: int) -> None:
        self._job = job
        self._threads = ThreadPoolExecutor(num, thread_name_prefix="reward")
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._closed = False
        self.num_started = 0

    def submit(self, samples: Sequence[Sample]) -> Future[list[Answer]]:
        """The answers to one call: one sample, or for batched functions several.

        The future raises RewardError where the function cannot be loaded.
        """
        return self._threads.submit(self._serve, list(samples))

    def close(self) -> None:
        """Kill the processes, and give up what was not answered."""
        with self._lock:
            self._closed = True
            alive = list(self._alive)
        for worker in alive:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in alive:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self, samples: list[Sample]) -> list[Answer]:
        worker = self._take()
        usable = False
        try:
            if not worker.loaded:
                worker.load()
            answers = worker.ask(samples)
            usable = worker.running
            return answers
        finally:
            with self._lock:
                if usable and not self._closed:
                    self._idle.append(worker)
                else:
                    self._alive.discard(worker)
            if not usable:
                worker.close()

    def _take(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise RewardError("the reward workers were closed before all was judged")
            while self._idle:
                worker = self._idle.pop()
                if worker.running:
                    return worker
                self._alive.discard(worker)
                worker.close()
            worker = _Worker(self._job)
            self._alive.add(worker)
            self.num_started += 1
            return worker


class _Ended(Exception):
    """The process closed its end."""


class _Worker:
    """One process, in a session of its own, so that its children can be killed with it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._socket, theirs = socket.socketpair()
        root = str(Path(__file__).parents[2])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, root, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.loaded = False
        self._killed = False
        self._asked = 0

    @property
    def running(self) -> bool:
        """Whether it can be asked; a process that was killed takes a moment to be gone."""
        return not self._killed and self._process.poll() is None

    def load(self) -> None:
        """Have the function loaded. Raises: RewardError."""
        deadline = time.monotonic() + START_S
        job, why = self._job, ""
        try:
            self._send(asdict(job) | {"parent": os.getpid()}, deadline)
            told = self._receive(deadline, LARGEST_ANSWER)
            why = str(told["why"]) if isinstance(told, dict) else "it said what it should not"
        except TimeoutError:
            why = f"loading took more than {START_S:g} s"
        except _Ended:
            why = f"the process {self._end()} while loading it"
        if why:
            self.kill()
            raise RewardError(f"{job.path}: the reward function cannot be loaded: {why}")
        self.loaded = True

    def ask(self, samples: Sequence[Sample]) -> list[Answer]:
        """An answer for each sample. After a timeout or a death the process is gone."""
        limit = self._job.timeout_s * len(samples)
        deadline = time.monotonic() + limit
        texts = [asdict(sample) for sample in samples]
        seed = int(content_hash(*(text for row in texts for text in row.values())), 16)
        try:
            self._asked += 1
            self._send({"samples": texts, "seed": seed, "number": self._asked}, deadline)
            given = self._receive(deadline, LARGEST_ANSWER * len(samples))
        except TimeoutError:
            self.kill()
            return [_failed(Cause.TIMEOUT, f"no answer within {limit:g} s")] * len(samples)
        except _Ended:
            return [_failed(Cause.DIED, f"its process {self._end()}")] * len(samples)
        try:
            answers = [_answer(row) for row in given["answers"]]
            mine = given["number"] == self._asked  # else what answers is left of another sample
        except (LookupError, TypeError, ValueError):
            answers, mine = [], False
        if not mine or len(answers) != len(
            samples
        ):  # the function wrote into the worker's own channel
            self.kill()
            return [_failed(Cause.DIED, "its answer was garbled")] * len(samples)
        return answers

    def kill(self) -> None:
        """End the process and what it started, of which some may outlive it."""
        if not self._killed:
            self._killed = True
            with suppress(ProcessLookupError, PermissionError):  # nobody is left
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill, and leave nothing behind."""
        self.kill()
        self._process.wait()
        self._socket.close()

    def _end(self) -> str:
        """How the process ended that closed its channel."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its channel"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _send(self, content: object, deadline: float) -> None:
        raw = json.dumps(content).encode("ascii")
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            self._socket.sendall(LENGTH.pack(len(raw)) + raw)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _Ended from error

    def _receive(self, deadline: float, largest: int) -> Any:
        (size,) = LENGTH.unpack(self._exactly(LENGTH.size, deadline))
        if size > largest:
            self.kill()
            raise _Ended
        raw = self._exactly(size, deadline)
        try:
            return json.loads(raw)
        except ValueError:
            return None

    def _exactly(self, size: int, deadline: float) -> bytes:
        got = bytearray()
        while len(got) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            was_running = self.running
            self._socket.settimeout(min(left, _LOOK_S))
            try:
                part = self._socket.recv(size - len(got))
            except TimeoutError:
                # A child of the worker may hold the channel open after the worker has died.
                if not was_running:
                    raise _Ended from None
                continue
            except ConnectionResetError as error:
                raise _Ended from error
            if not part:
                raise _Ended
            got += part
        return bytes(got)


def _failed(cause: Cause, why: str) -> Answer:
    return Answer(score=None, cause=cause, why=why)


def _answer(row: Sequence[Any]) -> Answer:
    score, cause, why = row
    return Answer(score=score, cause=Cause(cause) if cause else None, why=why)
