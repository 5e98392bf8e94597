"""The small process that boxes are forked from, so that starting one costs no Python start.

    the caller -> this server -> keeper -> overseer (process 1 of the box) -> the untrusted program

The keeper enters new namespaces and says who is who in them; the overseer builds the file tree,
starts the program as an ordinary user, watches time and memory, and at the end kills everything
and reports. When the overseer ends, the kernel kills whatever else runs in the box. Requests come
over a socket, with descriptors: the request itself, the report, a lifeline whose closing ends the
box, the program's output and error, and any that the program gets as 3, 4 and so on.
"""

import contextlib
import errno
import fcntl
import marshal
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from burnish.sandbox import confine
from burnish.sandbox import system_calls as system

REQUEST, REPORT, LIFELINE, OUTPUT, ERROR, FIRST_EXTRA = range(6)
MOST_DESCRIPTORS = 16
PYTHON = "python"
"""As the first word of a command: the interpreter that runs this server."""
_TICK_MS = 10
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NICE = 5
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "MALLOC_ARENA_MAX": "2",
}
Request = dict[str, Any]
"""argv, stdin, files (name to bytes) and the fields of `Limits`; marshalled."""


def serve(requests: socket.socket) -> None:
    """Forks a box for every request until the caller closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries what ends
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1, MOST_DESCRIPTORS)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(descriptors: list[int]) -> NoReturn:
    report = descriptors[REPORT]
    try:
        with open(descriptors[REQUEST], "rb") as file:
            request: Request = marshal.load(file)
        host = confine.host_ids()
        _enter_namespaces(host)
        overseer = os.fork()
        if overseer == 0:
            _oversee(request, descriptors, root=host is not None)
        for descriptor in descriptors[LIFELINE:]:
            os.close(descriptor)
        os.waitpid(overseer, 0)
    except OSError as error:
        _report(report, {"error": str(error)})
    os._exit(0)


def _enter_namespaces(host: tuple[int, int] | None) -> None:
    """New namespaces for this process; where root names a second user, a child left outside does.

    Only a process outside may map a user that is not its own.
    """
    if host is None:
        own = os.geteuid(), os.getegid()
        system.unshare(system.NEW_NAMESPACES)
        confine.write_id_maps("self", root=False, host=own)
        return
    entered, enter = os.pipe()
    keeper, writer = os.getpid(), os.fork()
    if writer == 0:
        os.close(enter)
        try:
            os.read(entered, 1)
            confine.write_id_maps(keeper, root=True, host=host)
        except OSError:
            os._exit(1)
        os._exit(0)
    system.unshare(system.NEW_NAMESPACES)
    os.close(entered)
    os.close(enter)
    if os.waitpid(writer, 0)[1] != 0:
        raise OSError(errno.EPERM, "the users of a user namespace cannot be set (CAP_SETUID?)")


def _oversee(request: Request, descriptors: list[int], *, root: bool) -> NoReturn:
    """Process 1 of the box."""
    report = descriptors[REPORT]
    try:
        system.die_with_parent(signal.SIGKILL)
        system.forbid_inspection()
        disk = request["disk_mb"] << 20
        processes = confine.build_tree(disk, request["max_disk_files"])
        stdin = _place_files(request)
        confine.close_tree()
        disk_used = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)
        began = time.monotonic()
        program = _start(request, [stdin, *descriptors[OUTPUT:]], root=root)
        for descriptor in (stdin, *descriptors[OUTPUT:]):
            os.close(descriptor)
        watch = _Watch(request, began, processes, disk_used, descriptors[LIFELINE])
        why = watch.until_end(program)
        status = _end(program)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = {
            "exit_code": os.waitstatus_to_exitcode(status),
            "ended_by": why,
            "wall_s": time.monotonic() - began,
            "cpu_s": used.ru_utime + used.ru_stime,
        }
        _report(report, found)
    except OSError as error:
        _report(report, {"error": str(error)})
    os._exit(0)


def _place_files(request: Request) -> int:
    """Writes the given files to /tmp, and gives stdin as a file of which there is no writing."""
    for name, content in request["files"].items():
        path = f"/tmp/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    for directory, _, names in os.walk("/tmp"):
        for path in (directory, *(f"{directory}/{name}" for name in names)):
            os.chown(path, confine.INSIDE_ID, confine.INSIDE_ID)
    with open("/input", "wb") as file:
        file.write(request["stdin"])
    return os.open("/input", os.O_RDONLY)


def _start(request: Request, given: list[int], *, root: bool) -> int:
    """Forks the untrusted program, with `given` as its descriptors 0, 1, 2 and on."""
    failed, fail = os.pipe()
    program = os.fork()
    if program == 0:
        try:
            os.setsid()
            os.nice(_NICE)
            os.chdir("/tmp")
            fail = _renumber(given, fail)
            confine.give_up_privileges(
                cpu_s=request["cpu_s"],
                memory_bytes=request["memory_mb"] << 20,
                file_bytes=request["disk_mb"] << 20,
                processes=request["max_processes"],
                open_files=request["max_open_files"],
                root=root,
            )
            argv = list(request["argv"])
            if argv[0] == PYTHON:
                argv[0] = os.path.realpath(sys.executable)
            os.execvpe(argv[0], argv, _ENVIRONMENT)
        except OSError as error:
            os.write(fail, str(error).encode())
        os._exit(127)
    os.close(fail)
    why = os.read(failed, 4096)
    os.close(failed)
    if why:
        raise OSError(0, f"cannot start the program: {why.decode(errors='replace')}")
    return program


def _renumber(given: list[int], fail: int) -> int:
    """Moves descriptors to 0, 1, 2...; returns the new number of `fail`; closes all others."""
    floor = 64  # above every number in use, so that no move overwrites one yet to be moved
    high = [_duplicate(descriptor, floor) for descriptor in (*given, fail)]
    for number, descriptor in enumerate(high[:-1]):
        os.dup2(descriptor, number, inheritable=True)
    kept = len(given)
    os.dup2(high[-1], kept, inheritable=False)
    os.closerange(kept + 1, 4096)
    return kept


def _duplicate(descriptor: int, floor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)


def _end(program: int) -> int:
    """Kills all that runs in the box and buries it; the program's own wait status."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    status = 0
    while True:
        try:
            pid, found = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if pid == program:
            status = found


class _Watch:
    """Looks at a running box every few milliseconds."""

    def __init__(
        self, request: Request, began: float, processes: int, disk: int, lifeline: int
    ) -> None:
        self._deadline = began + request["wall_s"]
        self._most_memory = request["memory_mb"] << 20
        self._processes, self._disk, self._lifeline = processes, disk, lifeline

    def until_end(self, program: int) -> str:
        """Waits: "" where the program ended by itself, or what it is to be killed for."""
        ended = os.pidfd_open(program)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self._lifeline, select.POLLIN)
        while True:
            ready = dict(poll.poll(_TICK_MS))
            if ended in ready:
                return ""
            if self._lifeline in ready:
                return "stopped"
            if time.monotonic() >= self._deadline:
                return "time"
            if self._memory() > self._most_memory:
                return "memory"
            self._bury(program)

    def _bury(self, program: int) -> None:
        """Takes away orphans that ended; leaves the program itself for `_end`."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == program:
                return
            os.waitpid(found.si_pid, 0)

    def _memory(self) -> int:
        """Bytes in use: quick and too high where processes share pages, so then counted exactly."""
        disk = os.fstatvfs(self._disk)
        files = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        own = str(os.getpid())
        found = [name for name in os.listdir(self._processes) if name.isdigit() and name != own]
        quick = files + sum(self._resident(name) for name in found)
        if quick <= self._most_memory:
            return quick
        return files + sum(self._share(name) for name in found)

    def _resident(self, name: str) -> int:
        words = self._read(f"{name}/statm").split()
        return int(words[1]) * _PAGE if words else 0

    def _share(self, name: str) -> int:
        for line in self._read(f"{name}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
        return 0

    def _read(self, path: str) -> str:
        """The text, or nothing where the process has just ended."""
        try:
            descriptor = os.open(path, os.O_RDONLY, dir_fd=self._processes)
        except (FileNotFoundError, ProcessLookupError):
            return ""
        try:
            return os.read(descriptor, 8192).decode()
        except ProcessLookupError:
            return ""
        finally:
            os.close(descriptor)


def _report(descriptor: int, found: dict[str, Any]) -> None:
    os.write(descriptor, marshal.dumps(found))


def main() -> None:
    """`argv[1]`: the descriptor of the socket that requests come by."""
    serve(socket.socket(fileno=int(sys.argv[1])))
