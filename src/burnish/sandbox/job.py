"""What a box is given, what it may use, and how what ran in it ended."""

import marshal
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from burnish.errors import ConfigError
from burnish.sandbox.server import PYTHON

_MAIN = "main.py"
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")


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


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
