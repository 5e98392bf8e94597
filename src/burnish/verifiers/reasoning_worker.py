"""The process that asks reasoning-gym's scorers: run as a script, never imported.

It reads a JSON list `[data set, options, answer, entry]` a line and writes a JSON object: `score`;
`refused` where the answer is code that the scorer would run; `failed` with what the scorer raised;
or `unknown` where the data set cannot be made. Memory and the size of files are bounded here, time
by whoever started it, who kills it.
"""

import functools
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

from burnish.verifiers.entries import unpacked
from burnish.verifiers.harmless import may_be_scored

MEMORY_BYTES = 2 << 30


def main() -> None:
    """Answer until the input ends, which it does when the parent dies."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    logging.disable(logging.CRITICAL)

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies.write("ready\n")
    for line in sys.stdin:
        try:
            reply = json.dumps(answered(*json.loads(line, object_hook=unpacked)))
        except MemoryError:
            reply = "m"
        replies.write(reply + "\n")


def answered(name: str, options: str, answer: str, entry: dict[str, Any]) -> dict[str, object]:
    """What is written for one question."""
    try:
        made = _made(name, options)
    except (TypeError, AssertionError, ValueError) as error:
        return {"unknown": str(error)}
    if not may_be_scored(name, answer):
        return {"refused": True}
    try:
        return {"score": float(made.score_answer(answer, entry))}
    except MemoryError:
        raise
    except Exception as error:  # a scorer of foreign making, on text that a model wrote
        return {"failed": type(error).__name__}


@functools.lru_cache(maxsize=64)
def _made(name: str, options: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(name, **{**json.loads(options), "size": 1, "seed": 0})


if __name__ == "__main__":
    main()
