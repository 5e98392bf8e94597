"""What a boxed process sees and may use: users, files, limits, capabilities, system calls.

Runs in a process of its own, inside new namespaces, before the untrusted program starts. The file
system is built anew: a small read-only tree with the system's libraries and programs and Python's
own, no other files of the machine, no /proc, and one writable directory, /tmp, of limited size.
"""

import glob
import os
import resource
import signal
import sys

from burnish.sandbox import system_calls as system

INSIDE_ID = 1000
"""The user and group that boxed code is, inside."""
_FIRST_HOST_ID, _NUM_HOST_IDS = 0x70000000, 1 << 22
"""Users of the machine that boxed code becomes when root starts it: one per box, none anybody's."""
_NOBODY = 65534
_LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SHOWN = (
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/alternatives",
)
_PACKAGES = ("python*/site-packages", "python*/dist-packages")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_TREE_BYTES, _TREE_FILES = 1 << 20, 4096
ROOM_BESIDE_MEMORY = 512 << 20
"""Address space beyond the memory limit: what Python and its threads reserve without using."""


def host_ids() -> tuple[int, int] | None:
    """(user, group) of the machine to become, where this process is root; None for a plain user.

    Root of a namespace without a second user counts as plain: what it is outside is no root.
    """
    if os.geteuid() != 0:
        return None
    for wanted in (_FIRST_HOST_ID + os.getpid() % _NUM_HOST_IDS, _NOBODY):
        if _mapped("uid_map", wanted) and _mapped("gid_map", wanted):
            return wanted, wanted
    return None


def write_id_maps(pid: int | str, *, root: bool, host: tuple[int, int]) -> None:
    """Makes the boxed user (and group) that user of the machine; `root`: root is root inside too.

    `pid` is a process in the namespace.
    """
    if not root:
        _write(f"/proc/{pid}/setgroups", "deny")
    first = "0 0 1\n" if root else ""
    users, groups = (f"{first}{INSIDE_ID} {number} 1\n" for number in host)
    _write(f"/proc/{pid}/gid_map", groups)
    _write(f"/proc/{pid}/uid_map", users)


def build_tree(disk_bytes: int, disk_files: int) -> int:
    """Makes the new root this process's own and returns an open directory: /proc, shown to nobody.

    /tmp is writable, and the root still is, until `close_tree`.
    """
    system.mount("none", "/", "", system.MS_REC | system.MS_PRIVATE)
    options = f"size={_TREE_BYTES},nr_inodes={_TREE_FILES},mode=755"
    system.mount("tmpfs", "/tmp", "tmpfs", system.MS_NOSUID | system.MS_NODEV, options)
    os.mkdir("/tmp/old")
    system.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    os.mkdir("/proc")
    system.mount("proc", "/proc", "proc", system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC)
    processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    system.detach("/proc")
    os.rmdir("/proc")
    os.mkdir("/tmp", 0o700)
    options = f"size={disk_bytes},nr_inodes={disk_files},mode=700"
    flags = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
    system.mount("tmpfs", "/tmp", "tmpfs", flags, options)
    os.chown("/tmp", INSIDE_ID, INSIDE_ID)
    for path in _LINKED:
        if os.path.islink("/old" + path):
            os.symlink(os.readlink("/old" + path), path)
        elif os.path.isdir("/old" + path):
            _show(path)
    for path in (*_SHOWN, *_pythons()):
        if os.path.exists("/old" + path) and not os.path.exists(path):
            _show(path)
    _hide_packages()
    os.mkdir("/dev")
    for name in _DEVICES:
        _show(f"/dev/{name}", devices=True)
    os.symlink("/tmp", "/dev/shm")
    return processes


def close_tree() -> None:
    """Lets go of the machine's own files and makes the root read-only."""
    system.detach("/old")
    os.rmdir("/old")
    system.set_read_only("/", below=False, devices=True)


def give_up_privileges(
    *, cpu_s: int, memory_bytes: int, file_bytes: int, processes: int, open_files: int, root: bool
) -> None:
    """The last step before the untrusted program: limits, an ordinary user, no capabilities."""
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: memory_bytes + ROOM_BESIDE_MEMORY,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: open_files,
    }
    for which, limit in limits.items():
        hard = resource.getrlimit(which)[1]
        low = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (low, low))
    if root:
        os.setgroups([])
        os.setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
        os.setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    system.drop_capabilities()
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # what is ignored here would be ignored there
    system.forbid_system_calls()


def _pythons() -> list[str]:
    """The running interpreter's own directories."""
    shown = [f"{sys.base_prefix}/{part}" for part in ("bin", "lib", "lib64")]
    return [*shown, os.path.dirname(os.path.realpath(sys.executable))]


def _show(path: str, *, devices: bool = False) -> None:
    """Binds the machine's file or directory to the same path, read-only."""
    if os.path.isdir("/old" + path):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    system.mount("/old" + path, path, "", system.MS_BIND | system.MS_REC)
    system.set_read_only(path, below=True, devices=devices)


def _hide_packages() -> None:
    """Empty directories over installed packages: they may be anybody's, the project's too."""
    for library in {"/usr/lib", "/lib", "/usr/local/lib", f"{sys.base_prefix}/lib"}:
        for pattern in _PACKAGES:
            for found in glob.glob(f"{library}/{pattern}"):
                system.mount("tmpfs", found, "tmpfs", system.MS_NOSUID, "size=4k,mode=755")
                system.set_read_only(found, below=False)


def _mapped(name: str, wanted: int) -> bool:
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        ranges = [[int(word) for word in line.split()] for line in file]
    return any(start <= wanted < start + count for start, _, count in ranges)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
