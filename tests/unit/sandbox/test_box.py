"""A box keeps what runs in it from files, processes, network, and from more than its share."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from burnish.errors import ConfigError, SandboxError
from burnish.sandbox import running
from burnish.sandbox.box import Job, Limits, Ran, run, run_many
from burnish.sandbox.running import start, wait
from burnish.types import content_hash
from tests.unit.sandbox.boxes import WHY_NOT, needs_boxes

SHORT = Limits(wall_s=1.0, memory_mb=128, disk_mb=8, max_processes=12, output_bytes=100_000)
MIB = 1 << 20
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "dev", "tmp", "input")


def attempt(source: str, limits: Limits = SHORT) -> Ran:
    """Runs it and checks what must hold whatever it does: in time, and nothing left of it."""
    before = time.monotonic()
    ran = run(source, limits=limits)
    assert time.monotonic() - before < limits.wall_s + 1
    return ran


def said(source: str) -> str:
    """The one word that the source prints at its end."""
    ran = attempt(source)
    assert ran.exit_code == 0, ran.stderr.decode()
    return ran.stdout.decode().strip()


def outcome(*attempts: str) -> list[str]:
    """For each statement, the name of the exception that stops it, or `done`."""
    source = "import os, socket, ctypes, resource, signal\n"
    for statement in attempts:
        body = statement.replace("\n", "\n    ")
        source += f"try:\n    {body}\n    print('done')\n"
        source += "except BaseException as error:\n    print(type(error).__name__)\n"
    return said(source).split()


def processes_of(mark: str) -> list[str]:
    """Command lines on this machine that contain the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark in line:
            found.append(line)
    return found


@pytest.mark.skipif(not WHY_NOT, reason="boxes work here")
def test_a_machine_without_namespaces_is_refused_with_a_reason_and_a_fix() -> None:
    with pytest.raises(SandboxError, match="untrusted code"):
        run("print(1)")


@needs_boxes
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no `unshare` program")
def test_a_box_that_would_leak_or_cannot_be_made_is_refused_with_a_reason_and_a_fix() -> None:
    # Root of a namespace in which no other user exists: a plain user outside has his boxes, but for
    # root outside, limits on the number of processes do not count, which the probe must find.
    code = f"{sys.executable} -c 'from burnish.sandbox import box; print(box.run(chr(49)).ok)'"
    none = "echo 0 > /proc/sys/user/max_user_namespaces"
    found = [
        subprocess.run(
            ["unshare", "-Ur", "sh", "-c", f"{first}; {code}"], capture_output=True, text=True
        )
        for first in ("true", none)
    ]
    if os.geteuid() == 0:
        assert "cannot be boxed here (what leaks: processes); run as an" in found[0].stderr
    else:
        assert found[0].stdout == "True\n", found[0].stderr
    refused = found[1].stderr.strip().splitlines()[-1]
    assert found[1].returncode == 1 and "SandboxError: untrusted code cannot be boxed" in refused
    assert "sysctl user.max_user_namespaces above 0" in refused


@needs_boxes
def test_a_program_gets_stdin_files_and_its_output_back() -> None:
    ran = run(
        "import sys, helper\nprint(helper.double(int(input())))\nsys.stderr.write('e')\nexit(3)",
        stdin=b"21\n",
        files={"helper.py": "def double(x):\n    return 2 * x\n"},
    )
    assert (ran.stdout, ran.stderr, ran.exit_code, ran.signal) == (b"42\n", b"e", 3, None)
    assert not (ran.timed_out or ran.out_of_memory or ran.output_capped or ran.ok)
    assert 0 < ran.cpu_s < 5 and 0 < ran.wall_s < 10


@needs_boxes
def test_a_command_runs_and_a_missing_one_is_an_error() -> None:
    assert run(["python", "-c", "print(1)"]).stdout == b"1\n"
    assert run(["sh", "-c", "echo $0 $HOME; exit 5"]).stdout == b"sh /tmp\n"
    with pytest.raises(SandboxError, match="no-such-program"):
        run(["no-such-program"])


@needs_boxes
def test_many_run_at_a_time_and_come_back_in_order() -> None:
    jobs = [Job(program=f"print({i})", limits=SHORT) for i in range(12)]
    assert [ran.stdout for ran in run_many(jobs, workers=4)] == [b"%d\n" % i for i in range(12)]


@needs_boxes
def test_files_that_would_leave_the_directory_are_refused() -> None:
    for name in ("../x", "/etc/x", "a/../../x", "", "a//b", "main.py"):
        with pytest.raises(ConfigError, match="files"):
            run("", files={name: b""})


@needs_boxes
def test_endless_loops_end_in_time() -> None:
    ran = attempt("while True: pass")
    assert ran.timed_out and ran.signal == 9 and ran.exit_code is None


@needs_boxes
def test_a_program_that_ignores_signals_ends_in_time() -> None:
    source = "import signal\nfor n in range(1, 32):\n  if n not in (9, 19): "
    assert attempt(source + "signal.signal(n, signal.SIG_IGN)\nwhile True: pass").timed_out


@needs_boxes
def test_a_fork_bomb_is_held_and_leaves_nothing() -> None:
    mark = content_hash("fork bomb", str(os.getpid()))
    bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
    ran = attempt(f"import os, sys\nos.execv(sys.executable, ['python', '-c', {bomb!r}, {mark!r}])")
    assert ran.timed_out
    assert processes_of(mark) == []


@needs_boxes
def test_daemons_die_with_the_program_that_left_them() -> None:
    mark = content_hash("daemon", str(os.getpid()))
    source = f"""
import os, signal, sys
for n in (signal.SIGHUP, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, ['python', '-c', 'import time; time.sleep(60)', '{mark}'])
    os._exit(0)
os.wait()
print('left')
"""
    ran = attempt(source)
    assert ran.stdout == b"left\n" and ran.wall_s < 0.9
    assert processes_of(mark) == []


@needs_boxes
def test_threads_are_counted_as_processes() -> None:
    source = """
import threading, time
n = 0
try:
    for n in range(1000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
except RuntimeError:
    print(n)
"""
    assert 5 <= int(said(source)) < SHORT.max_processes


@needs_boxes
def test_one_huge_allocation_is_refused() -> None:
    assert outcome("x = bytearray(50 << 30)") == ["MemoryError"]


@needs_boxes
def test_memory_of_all_processes_together_is_held() -> None:
    source = """
import os, time
for _ in range(6): os.fork() or (bytearray(b'x') * (40 << 20), time.sleep(9))
kept = []
while True: kept.append(bytearray(b'x') * (1 << 20)); time.sleep(0.001)
"""
    ran = attempt(source, Limits(wall_s=20, memory_mb=128))
    assert ran.out_of_memory and ran.signal == 9


@needs_boxes
def test_memory_shared_by_forks_counts_once() -> None:
    source = """
import os, time
block = bytearray(b'x') * (60 << 20)
children = [os.fork() or (time.sleep(0.2), os._exit(0)) for _ in range(4)]
for _ in children: os.wait()
print('fits')
"""
    assert said(source) == "fits"


@needs_boxes
def test_a_file_in_memory_counts_and_the_disk_is_limited() -> None:
    full = "with open('/tmp/x', 'wb') as file:\n    for _ in range(99): file.write(bytes(1 << 20))"
    assert outcome(full) == ["OSError"]
    many = "for i in range(99999): open(f'/tmp/{i}', 'w').close()"
    assert outcome(many) == ["OSError"]
    assert attempt(full, Limits(wall_s=20, memory_mb=64, disk_mb=100)).out_of_memory


@needs_boxes
def test_endless_output_ends_the_box_and_stays_small_here() -> None:
    before = resident()
    for stream in ("stdout", "stderr"):
        ran = attempt(f"import sys\nwhile True: sys.{stream}.write('x' * 65536)")
        assert ran.output_capped and len(ran.stdout + ran.stderr) == SHORT.output_bytes
    assert resident() - before < 20 * MIB


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@needs_boxes
def test_files_of_the_machine_are_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    for path in ("/etc/passwd", "/etc/shadow", __file__, str(secret), "/proc/self/mem", "/sys"):
        assert outcome(f"os.stat({path!r})") == ["FileNotFoundError"], path
    assert outcome(f"os.symlink({str(secret)!r}, 'link'); open('link').read()") == [
        "FileNotFoundError"
    ]
    assert said("import os; print(sorted(os.listdir('/tmp')))") == "['main.py']"
    top = set(said("import os; print(*os.listdir('/'))").split())
    python = Path(sys.base_prefix).parts[1]
    assert top <= {*_TOP, python}


@needs_boxes
def test_installed_packages_are_not_there() -> None:
    assert outcome("import torch", "import burnish") == ["ModuleNotFoundError"] * 2
    source = "import glob, sys\nfound = []\nfor top in (sys.prefix, '/usr', '/usr/local'):\n"
    source += "  found += glob.glob(f'{top}/lib/python3*/*-packages/*')\nprint(found)"
    assert said(source) == "[]"


@needs_boxes
def test_nothing_outside_its_directory_can_be_written() -> None:
    library = os.path.dirname(os.__file__)
    places = ("/x", "/usr/x", "/dev/x", "/etc/x", "/dev/shm/../x", f"{library}/x", "/input")
    writes = [f"open({place!r}, 'w')" for place in places]
    assert set(outcome(*writes)) <= {"OSError", "PermissionError"}
    assert outcome("open('x', 'w')", "open('/tmp/y', 'w')", "os.mkdir('z')") == ["done"] * 3
    assert outcome("os.chmod('/usr', 0o777)", "os.remove('/input')") == ["OSError"] * 2


@needs_boxes
def test_there_is_no_network() -> None:
    families = ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET")
    assert outcome(*(f"socket.socket(socket.{name})" for name in families)) == [
        "PermissionError"
    ] * len(families)
    assert said("import socket\na, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))") == (
        "b'x'"
    )


@needs_boxes
def test_no_signal_reaches_anything_outside() -> None:
    parent = os.getpid()
    found = outcome("os.kill(1, 9)", f"os.kill({parent}, 9)", "os.kill(os.getppid(), 15)")
    assert set(found) <= {"PermissionError", "ProcessLookupError", "done"}
    killed = attempt("import os\nos.kill(-1, 9)\nos.kill(1, 9)\nprint('alive')")
    assert killed.stdout in (b"", b"alive\n")


@needs_boxes
def test_it_has_no_privileges_and_cannot_get_any() -> None:
    calls = {"unshare": (272, 97), "ptrace": (101, 117), "bpf": (321, 280), "mount": (165, 40)}
    column = 0 if os.uname().machine == "x86_64" else 1
    source = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    for numbers in calls.values():
        source += (
            f"libc.syscall({numbers[column]}, 0x10000000, 0, 0, 0)\nprint(ctypes.get_errno())\n"
        )
    assert said(source).split() == ["1"] * len(calls)
    assert (
        outcome("os.setuid(0)", "os.chroot('/tmp')", "os.nice(-5)", "os.sethostname('x')")[:2]
        == ["PermissionError"] * 2
    )
    ids = said("import os; print(*os.getresuid(), *os.getresgid(), *os.getgroups())").split()
    assert "0" not in ids
    raised = "resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))"
    assert outcome(raised) == ["ValueError"]
    lowered = "resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))"
    assert outcome(lowered, "resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))") == [
        "done",
        "PermissionError",
    ]


@needs_boxes
def test_it_inherits_nothing() -> None:
    os.environ["BURNISH_TEST_SECRET"] = "1"
    kept = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        source = "import os\nopen_ones = []\nfor n in range(64):\n  try: os.fstat(n)"
        source += "; open_ones.append(n)\n  except OSError: pass\n"
        source += "print(open_ones, 'BURNISH_TEST_SECRET' in os.environ)"
        assert said(source) == "[0, 1, 2] False"
    finally:
        os.close(kept)
        del os.environ["BURNISH_TEST_SECRET"]


@needs_boxes
def test_deep_recursion_and_crashes_are_an_exit_like_any() -> None:
    assert outcome("def f(): f()\nf()") == ["RecursionError"]
    ran = attempt("import ctypes; ctypes.string_at(0)")
    assert ran.signal == 11 and not ran.ok


@needs_boxes
def test_a_box_ends_when_nobody_waits_for_it_any_more() -> None:
    mark = content_hash("stopped", str(os.getpid()))
    program = ["python", "-c", "import time; time.sleep(60)", mark]
    running = start(Job(program=program))
    timer = threading.Timer(0.2, running.stop)
    timer.start()
    ran = wait([running])[0]
    assert ran.wall_s < 5 and not ran.timed_out
    assert processes_of(mark) == []


@needs_boxes
def test_a_killed_caller_leaves_no_box_behind() -> None:
    mark = content_hash("orphan", str(os.getpid()))
    code = f"from burnish.sandbox.box import run\nrun(['sleep', '60.{int(mark[:6], 16)}'])"
    caller = subprocess.Popen([sys.executable, "-c", code])
    argument = f"60.{int(mark[:6], 16)}"
    deadline = time.monotonic() + 20
    while not processes_of(f"sleep\0{argument}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_of(f"sleep\0{argument}")
    caller.kill()
    caller.wait()
    while processes_of(f"sleep\0{argument}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_of(f"sleep\0{argument}") == []


@needs_boxes
def test_limits_must_be_above_zero() -> None:
    with pytest.raises(ConfigError, match="wall_s"):
        Limits(wall_s=0)


@needs_boxes
def test_a_caller_that_was_stopped_past_the_limit_still_reads_how_a_box_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = start(Job(program="print('x' * 70_000)", limits=SHORT))
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: box.deadline + 60))
    (ran,) = wait([box])
    assert ran.ok and len(ran.stdout) == 70_001
