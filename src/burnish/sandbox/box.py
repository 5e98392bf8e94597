"""Runs untrusted programs, each in a box of its own that lasts as long as the program.

A box has its own users, processes, mounts, network (none), IPC and host name (Linux namespaces). It
sees Python, the system's libraries and programs read-only, and an empty /tmp in memory; no other
file, no /proc, no installed packages. The program is an ordinary user without capabilities, whether
or not root starts it; a filter refuses the system calls that it has no use for. Time, memory of all
its processes together, processes, open files, disk and output are limited. When the program ends,
everything in its box is killed before `run` returns.

Where any of this cannot be had, `run` refuses; there is no weaker box.

What it does not protect against:
- faults of the kernel: the box is as good as the kernel's own isolation;
- side channels: caches and timing, the machine's load, what `uname` and the processor say;
- memory for a moment: it is looked at every 10 ms, so a box can go over by what it fills meanwhile;
- load: boxes use the cores that they run on for as long as they may;
- reading the system's programs and libraries (/usr/bin, /usr/lib) and Python's: keep no secrets
  there; nor reading the paths that Python is installed under;
- what is done with the output: it is any bytes at all.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import burnish
from burnish.errors import SandboxError
from burnish.pipeline.environment import usable_cores
from burnish.sandbox.job import Job, Limits, Ran
from burnish.sandbox.running import start, wait

__all__ = ["Job", "Limits", "Ran", "available", "run", "run_many"]


def run(
    program: str | Sequence[str],
    *,
    stdin: bytes = b"",
    files: Mapping[str, str | bytes] | None = None,
    limits: Limits | None = None,
) -> Ran:
    """Runs Python source, or a command, to its end; never raises for what the program does.

    Raises:
        ConfigError: a file name that leaves the program's directory.
        SandboxError: boxes cannot be had here, or the command does not exist in them.
    """
    available()
    job = Job(program=program, stdin=stdin, files=files or {}, limits=limits or Limits())
    return wait([start(job)])[0]


def run_many(jobs: Sequence[Job], *, workers: int | None = None) -> list[Ran]:
    """Runs each job in its own box, `workers` at a time (default: one a core), in order."""
    available()
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        return list(pool.map(lambda job: wait([start(job)])[0], jobs))


@cache
def available() -> None:
    """Returns where boxes work: tries one, once, and what a program in it can do.

    Raises:
        SandboxError: they do not; one line with the reason and the fix.
    """
    project = f"PROJECT = {burnish.__file__!r}\n"
    job = Job(program=project + _PROBE, limits=Limits(max_processes=8))
    ran = wait([start(job)])[0]
    if ran.stdout.strip() != b"boxed":
        said = (ran.stdout + ran.stderr).decode(errors="replace").strip().splitlines()
        leaks = said[-1] if said else ran
        raise SandboxError(
            f"untrusted code cannot be boxed here (what leaks: {leaks}); run as "
            "an ordinary user, or as root who may become another user (CAP_SETUID)"
        )


_PROBE = """
import os, socket
def fails(act):
    try:
        act()
    except (OSError, AttributeError):
        return True
def forks():
    for _ in range(64):
        if os.fork() == 0:
            import time
            time.sleep(60)
leaks = [name for name, act in {
    "root": lambda: None if os.geteuid() == 0 else os.stat("/no"),
    "network": lambda: socket.socket(),
    "files": lambda: os.stat(PROJECT),
    "accounts": lambda: os.stat("/etc/passwd"),
    "proc": lambda: os.stat("/proc/self"),
    "write": lambda: open("/usr/lib/x", "w"),
    "processes": forks,
}.items() if not fails(act)]
print(*leaks or ["boxed"])
"""
