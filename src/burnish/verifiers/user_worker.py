"""The program of a worker process: it calls a user's reward function, one request after another.

Whatever the function raises or returns is turned into an answer here, where it can do no harm. Only
the standard library is imported, so that a worker starts in a few hundredths of a second and never
meets the threads of the process that trains. Answers go over a socket of their own; what the
function prints goes nowhere.

This keeps mistakes away from training. It is no sandbox: the function is the user's own code and
may do what the user may.
"""

import ctypes
import json
import math
import numbers
import os
import random
import resource
import signal
import socket
import struct
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

LENGTH = struct.Struct("!Q")
SHOWN = 200
"""Characters of an error's message that are passed on."""
_PR_SET_PDEATHSIG = 1


class Cause(StrEnum):
    """Why a completion has no score."""

    ABSTAINED = "abstained"
    RAISED = "raised"
    EXITED = "exited"
    TIMEOUT = "timeout"
    DIED = "died"
    NOT_A_NUMBER = "not_a_number"
    NOT_FINITE = "not_finite"
    WRONG_LENGTH = "wrong_length"


@runtime_checkable
class Listable(Protocol):
    """An array or tensor."""

    def tolist(self) -> object: ...


Answer = tuple[float | None, str, str]
"""Score, else the cause and what happened."""


def main(descriptor: str) -> None:
    """Serve requests until the other end is closed."""
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    job = receive(channel)
    if job is None:
        return
    _die_with(int(job["parent"]))
    _limit(job["memory_mb"])
    try:
        function = load(job["path"], job["source"], job["function"])
    except BaseException as error:
        send(channel, {"why": described(error, job["path"])})
        return
    send(channel, {"why": ""})
    own = os.getpid()
    while (request := receive(channel)) is not None:
        answers = answer(function, request, batched=job["batched"], path=job["path"])
        if os.getpid() != own:  # a child that the function forked returned, as its parent will
            os._exit(0)
        send(channel, {"number": request["number"], "answers": answers})
    os._exit(0)  # threads that the function started are not waited for


def load(path: str, source: str, function: str) -> Callable[..., Any]:
    """The function, from the text that the run began with: later edits of the file do not count.

    Raises:
        Whatever the file raises. TypeError: it has no such function.
    """
    sys.path.insert(0, str(Path(path).parent))
    module = types.ModuleType(f"user_reward_{Path(path).stem}")
    module.__file__ = path
    sys.modules[module.__name__] = module
    exec(compile(source, path, "exec"), vars(module))
    found = vars(module).get(function)
    if not callable(found):
        raise TypeError(f"there is no function `{function}` in it")
    return found  # type: ignore[no-any-return]


def answer(
    function: Callable[..., Any], request: Mapping[str, Any], *, batched: bool, path: str
) -> list[Answer]:
    """One answer for each sample of the request; an unusable batch gives all the same one."""
    samples = request["samples"]
    columns = [[sample[name] for sample in samples] for name in ("prompt", "completion", "answer")]
    columns.append([json.loads(sample["meta"]) for sample in samples])
    # A function that draws gives the same in whichever worker, after whichever other completions.
    random.seed(request["seed"])
    try:
        if not batched:
            return [number(function(*(column[0] for column in columns)))]
        values = function(*columns)
        values = values.tolist() if isinstance(values, Listable) else values
        if not isinstance(values, Sequence) or isinstance(values, str | bytes):
            wrong = f"returned {type(values).__name__}, not a list of numbers"
            return [(None, Cause.NOT_A_NUMBER, wrong)] * len(samples)
        if len(values) != len(samples):
            wrong = f"returned {len(values)} scores for {len(samples)} completions"
            return [(None, Cause.WRONG_LENGTH, wrong)] * len(samples)
        return [number(value) for value in values]
    except SystemExit as error:
        return [(None, Cause.EXITED, f"called sys.exit ({str(error.code)[:SHOWN]})")] * len(samples)
    except BaseException as error:
        return [(None, Cause.RAISED, described(error, path))] * len(samples)


def number(value: object) -> Answer:
    """A real, finite number as a float (numpy's scalars are such); else why it is none."""
    if value is None:
        return None, Cause.ABSTAINED, "returned None"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None, Cause.NOT_A_NUMBER, f"returned {type(value).__name__}, not a number"
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        return None, Cause.NOT_FINITE, f"returned {score}"
    return score, "", ""


def described(error: BaseException, path: str) -> str:
    """What was raised, in one short line with the line of the user's file."""
    try:
        text = " ".join(str(error).split())[:SHOWN]
    except BaseException:
        text = "(its message cannot be shown)"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines.append(error.lineno)
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{where}"


def send(channel: socket.socket, content: object) -> None:
    """One message: its length, then JSON."""
    raw = json.dumps(content).encode("ascii")
    channel.sendall(LENGTH.pack(len(raw)) + raw)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other end is closed."""
    head = _exactly(channel, LENGTH.size)
    body = head and _exactly(channel, LENGTH.unpack(head)[0])
    return json.loads(body) if body else None


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    got = bytearray()
    while len(got) < size:
        part = channel.recv(min(size - len(got), 1 << 20))
        if not part:
            return None
        got += part
    return bytes(got)


def _die_with(parent: int) -> None:
    """Be killed when the training process is, even inside a call that never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _limit(memory_mb: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb is not None:
        size = memory_mb << 20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
