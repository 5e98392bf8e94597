"""A box while it runs, as its caller sees it: descriptors to read, and a lifeline to cut."""

import marshal
import os
import selectors
import time
from collections.abc import Sequence

from burnish.errors import ConfigError, SandboxError
from burnish.sandbox.job import Job, Ran
from burnish.sandbox.launch import Server
from burnish.sandbox.server import FIRST_EXTRA, MOST_DESCRIPTORS

GRACE_S = 30.0
"""How long after its own limit a box may take to report before it counts as broken."""
_CHUNK = 1 << 16


def start(job: Job, connect: Sequence[int] = ()) -> "Running":
    """Starts a box; the program gets the `connect` descriptors as 3, 4 and so on.

    They are closed here. Every box that is started must be waited for.
    """
    if len(connect) > MOST_DESCRIPTORS - FIRST_EXTRA:
        raise ConfigError(f"a box takes at most {MOST_DESCRIPTORS - FIRST_EXTRA} descriptors")
    return Running(job, connect)


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
                ready = selector.select(timeout=1.0)
                for key, _ in ready:
                    key.data.take(key.fd)
                for key in list(selector.get_map().values()):
                    if key.fd not in key.data.open:
                        selector.unregister(key.fd)
                if leader is not None and leader.over:
                    for box in boxes:
                        box.stop()
                if not ready and time.monotonic() > max(box.deadline for box in boxes):
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
