"""The process that compares expressions by math-verify: run as a script, never imported.

It reads one JSON list `[reference, answer]` a line and writes `1`, `0`, or `m` for out of memory.
Expressions come from a model and may take for ever: its memory is bounded here, its time by whoever
started it, who kills it. Should that one die first, an alarm and a look at the parent end it.

Bounded are memory, time and the size of files, so that nothing is written. It is no sandbox: it
protects from costly expressions, not from a fault in the parser that would run a model's code.
"""

import json
import logging
import os
import resource
import signal
import sys
import threading
import time

MEMORY_BYTES = 1 << 30
ALARM_S = 30
"""Longer than any parent waits."""


def main() -> None:
    """Answer until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    logging.disable(logging.CRITICAL)
    from math_verify import LatexExtractionConfig, parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    latex = [LatexExtractionConfig()]

    def equal(reference: str, answer: str) -> bool:
        # math-verify's own timeouts are alarms: they fail off the main thread and cannot stop
        # the arithmetic of large numbers.
        sides = [
            parse(
                f"${text}$",
                extraction_config=latex,
                fallback_mode="no_fallback",
                parsing_timeout=None,
            )
            for text in (reference, answer)
        ]
        return all(sides) and bool(verify(*sides, timeout_seconds=None))

    replies.write("ready\n")
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, ALARM_S)
        try:
            reply = str(int(equal(*json.loads(line))))
        except MemoryError:
            reply = "m"
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ):
            reply = "0"
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(reply + "\n")


def _leave_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()
