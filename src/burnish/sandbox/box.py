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

import marshal
import os
import re
import selectors
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache

import burnish
from burnish.errors import ConfigError, SandboxError
from burnish.pipeline.environment import usable_cores
from burnish.sandbox.launch import Server
from burnish.sandbox.server import FIRST_EXTRA, MOST_DESCRIPTORS, PYTHON

GRACE_S = 5.0
"""How long after its own limit a box may take to report before it counts as broken."""
_MAIN = "main.py"
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a box may use; a program that goes over is killed, or refused what it asks for."""

    wall_s: float = 10.0
    """Seconds from the program's start."""
    cpu_s: int = 20
    """Processor seconds of each process."""
    memory_mb: int = 512
    """MiB of all processes and files of the box together."""
    disk_mb: int = 64
    """MiB of /tmp, which is memory too."""
    max_disk_files: int = 4096
    max_processes: int = 32
    """Processes and threads at a time."""
    max_open_files: int = 64
    output_bytes: int = 1 << 20
    """Of stdout and of stderr each; what comes after ends the box."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ConfigError(f"sandbox limit {name}={value} must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """How a program ended."""

    exit_code: int | None
    """None where a signal ended it, ours included."""
    signal: int | None
    stdout: bytes
    stderr: bytes
    timed_out: bool
    out_of_memory: bool
    """Killed for its box's memory; one allocation above the limit is refused to it instead."""
    output_capped: bool
    wall_s: float
    cpu_s: float
    """Of all the box's processes."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.exit_code == 0 and not (
            self.timed_out or self.out_of_memory or self.output_capped
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A program and what it is given."""

    program: str | Sequence[str]
    """Python source, or a command; "python" as its first word is this interpreter."""
    stdin: bytes = b""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """Name, relative to the program's directory, to content."""
    limits: Limits = Limits()

    def request(self) -> bytes:
        """As the server reads it. Raises: ConfigError for a file name that leaves the directory."""
        files = {name: _bytes(content) for name, content in self.files.items()}
        if isinstance(self.program, str):
            if _MAIN in files:
                raise ConfigError(f"files: {_MAIN} is the program's own name; choose another")
            files[_MAIN] = _bytes(self.program)
            argv = [PYTHON, _MAIN]
        else:
            argv = list(self.program)
        if not argv or any("\0" in word for word in argv):
            raise ConfigError("program: a command needs a first word, and no NUL in any")
        for name in files:
            if not _NAME.fullmatch(name) or ".." in name.split("/"):
                raise ConfigError(f"files: {name!r} is not a plain relative path")
        request = {"argv": argv, "stdin": self.stdin, "files": files, **asdict(self.limits)}
        return marshal.dumps(request)


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
    job = Job(program=program, stdin=stdin, files=files or {}, limits=limits or Limits())
    return wait([start(job)])[0]


def run_many(jobs: Sequence[Job], *, workers: int | None = None) -> list[Ran]:
    """Runs each job in its own box, `workers` at a time (default: one a core), in order."""
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        return list(pool.map(lambda job: wait([start(job)])[0], jobs))


def start(job: Job, connect: Sequence[int] = ()) -> "Running":
    """Starts a box; the program gets the `connect` descriptors as 3, 4 and so on.

    They are closed here. Every box that is started must be waited for.
    """
    if len(connect) > MOST_DESCRIPTORS - FIRST_EXTRA:
        raise ConfigError(f"a box takes at most {MOST_DESCRIPTORS - FIRST_EXTRA} descriptors")
    return Running(job, connect)


@cache
def available() -> None:
    """Returns where boxes work.

    Raises:
        SandboxError: they do not; one line with the reason and the fix.
    """
    project = f"PROJECT = {burnish.__file__!r}\n"
    ran = run(project + _PROBE, limits=Limits(wall_s=10, max_processes=8))
    if ran.stdout.strip() != b"boxed":
        said = (ran.stdout + ran.stderr).decode(errors="replace").strip().splitlines()
        raise SandboxError(f"boxes leak here: {said[-1] if said else ran}; untrusted code not run")


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


class Running:
    """A box that has been started. Only `wait` reads what comes out of it."""

    def __init__(self, job: Job, connect: Sequence[int]) -> None:
        self._limit = job.limits.output_bytes
        request = os.memfd_create("request")
        _write_all(request, job.request())
        os.lseek(request, 0, os.SEEK_SET)
        report, report_end = os.pipe()
        lifeline_end, self._lifeline = os.pipe()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        self.found = {report: bytearray(), out: bytearray(), err: bytearray()}
        self._report, self._out, self._err = report, out, err
        self.open = set(self.found)
        self.capped = False
        self.deadline = time.monotonic() + job.limits.wall_s + GRACE_S
        given = [request, report_end, lifeline_end, out_end, err_end, *connect]
        sent = False
        try:
            Server.shared().send(given)
            sent = True
        finally:
            for descriptor in given:
                os.close(descriptor)
            if not sent:
                self.close()

    def take(self, descriptor: int) -> None:
        """Reads what there is and keeps what fits; what comes after too much only ends the box."""
        data = os.read(descriptor, _CHUNK)
        if not data:
            self._drop(descriptor)
            return
        kept = self.found[descriptor]
        room = len(data) if descriptor == self._report else self._limit - len(kept)
        kept += data[:room]
        if len(data) > room:
            self.capped = True
            self.stop()

    @property
    def over(self) -> bool:
        """Whether all of the box is gone and all that it wrote was read."""
        return not self.open

    def stop(self) -> None:
        """Kills everything in the box, within some milliseconds."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def close(self) -> None:
        """Stops, and reads no more."""
        self.stop()
        for descriptor in list(self.open):
            self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self.open.discard(descriptor)
        os.close(descriptor)

    def ran(self) -> Ran:
        """How it ended. Raises: SandboxError where the box could not be made."""
        raw = bytes(self.found[self._report])
        if not raw:
            raise SandboxError("a box ended without a report; its server may have been killed")
        report = marshal.loads(raw)
        if "error" in report:
            raise SandboxError(_explain(str(report["error"])))
        code, why = int(report["exit_code"]), report["ended_by"]
        return Ran(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            stdout=bytes(self.found[self._out]),
            stderr=bytes(self.found[self._err]),
            timed_out=why == "time",
            out_of_memory=why == "memory",
            output_capped=self.capped,
            wall_s=float(report["wall_s"]),
            cpu_s=float(report["cpu_s"]),
        )


def wait(boxes: Sequence[Running], *, leader: Running | None = None) -> list[Ran]:
    """Waits for every box; once the `leader` is over, the others are stopped."""
    try:
        with selectors.DefaultSelector() as selector:
            for box in boxes:
                for descriptor in box.open:
                    selector.register(descriptor, selectors.EVENT_READ, box)
            while not all(box.over for box in boxes):
                for key, _ in selector.select(timeout=1.0):
                    key.data.take(key.fd)
                for key in list(selector.get_map().values()):
                    if key.fd not in key.data.open:
                        selector.unregister(key.fd)
                if leader is not None and leader.over:
                    for box in boxes:
                        box.stop()
                if time.monotonic() > max(box.deadline for box in boxes):
                    break  # a descriptor that somebody else inherited, or no report at all
        return [box.ran() for box in boxes]
    finally:
        for box in boxes:
            box.close()


def _explain(error: str) -> str:
    return (
        f"untrusted code cannot be boxed here ({error}); it needs Linux 5.14 or newer on x86-64 or "
        "AArch64, and user namespaces: sysctl user.max_user_namespaces above 0, "
        "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, or a container that allows "
        "`unshare` and shows all of /proc (Docker: --privileged)"
    )


def _write_all(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
