"""A server of chat completions on this machine's loopback, whose replies a test writes down."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What to send; `drip_s` waits between bytes, `hold_s` before the first."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hold_s: float = 0.0
    drip_s: float = 0.0


def said(text: str | None, prompt_tokens: int = 10, completion_tokens: int = 3) -> Reply:
    """A well-formed answer."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    value = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
    return Reply(json.dumps(value).encode())


@dataclass
class FakeServer:
    """Records what it is asked; `answer(body, number of the request)` says what to reply."""

    answer: Callable[[dict[str, Any], int], Reply]
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Reply]) -> Iterator[FakeServer]:
    """A running server, gone afterwards."""
    fake = FakeServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with fake.lock:
                number = len(fake.bodies)
                fake.bodies.append(body)
                fake.headers.append(dict(self.headers))
                fake.paths.append(self.path)
                fake.at_once += 1
                fake.most_at_once = max(fake.most_at_once, fake.at_once)
            reply = fake.answer(body, number)
            try:
                self._send(reply)
            except OSError:
                self.close_connection = True  # the client has left
            finally:
                with fake.lock:
                    fake.at_once -= 1

        def _send(self, reply: Reply) -> None:
            time.sleep(reply.hold_s)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if not reply.drip_s:
                self.wfile.write(reply.body)
                return
            for byte in reply.body:
                self.wfile.write(bytes([byte]))
                time.sleep(reply.drip_s)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
