"""Starts the server of boxes, one for each process that runs untrusted code, and speaks to it."""

import atexit
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import burnish
from burnish.errors import SandboxError


class Server:
    """The process that forks boxes; one for this process, started when first needed."""

    _shared: "Server | None" = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        root = str(Path(burnish.__file__).parents[1])
        code = f"import sys; sys.path.insert(0, {root!r})\n"
        code += "from burnish.sandbox.server import main; main()"
        interpreter = os.path.realpath(sys.executable)
        self._process = subprocess.Popen(
            [interpreter, "-I", "-S", "-c", code, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            start_new_session=True,
        )
        theirs.close()

    @classmethod
    def shared(cls) -> "Server":
        """The server of this process. Raises: SandboxError where this is not Linux."""
        with cls._lock:
            if cls._shared is None or not cls._shared.usable():
                if sys.platform != "linux":
                    raise SandboxError(f"untrusted code runs on Linux only, not on {sys.platform}")
                cls._shared = Server()
                atexit.register(cls._shared.end)
            return cls._shared

    def usable(self) -> bool:
        """Of this process, not of one that this was forked from, and alive."""
        return self.owner == os.getpid() and self._process.poll() is None

    def send(self, descriptors: Sequence[int]) -> None:
        """Asks for a box. Raises: SandboxError where the server has just ended."""
        try:
            socket.send_fds(self._socket, [b"r"], descriptors)
        except OSError as error:
            raise SandboxError(
                f"the server of boxes does not answer ({error}); run again"
            ) from error

    def end(self) -> None:
        """Lets the server go."""
        if self.owner == os.getpid():
            self._socket.close()
            self._process.wait()
