"""Any server that speaks OpenAI's chat completions, as the one who answers.

Only a client: nothing listens. The key comes from a named environment variable, which the command
line reads; it goes into one header of requests to `base_url` and nowhere else: redirects are not
followed, and what servers say in errors is shown without it.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from burnish import rng
from burnish.config import require
from burnish.errors import ConfigError, EndpointError
from burnish.verifiers.chat import Answer, OnAnswer, Prices, Question
from burnish.verifiers.reply import read_answer, retry_after

if TYPE_CHECKING:  # importing it takes longer than `burnish --help` may
    import requests

MAX_BYTES = 4 * 1024 * 1024
"""Of a reply: a few hundred times what a judge says."""
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind a server that speaks OpenAI's chat completions."""

    base_url: str
    """Such as `http://127.0.0.1:8000/v1`; `/chat/completions` is added."""
    model: str
    """As the server calls it."""
    key_env: str | None = None
    """The environment variable that holds the key: its name, never the key itself."""
    concurrency: int = 4
    """Questions under way at one time."""
    timeout_s: float = 120.0
    """For one whole reply."""
    max_attempts: int = 6
    """Of one question, the first included."""
    max_wait_s: float = 60.0
    """Between two attempts; a server that asks for more ends the run."""
    prices: Prices = Prices()

    def __post_init__(self) -> None:
        require(bool(self.model.strip()), "model must name a model of the server")
        parts = _parts(self.base_url)
        require(
            self.key_env is None or _NAME.fullmatch(self.key_env) is not None,
            "key_env must be the name of an environment variable, such as MY_KEY; never a key",
        )
        require(
            self.key_env is None or parts.scheme == "https" or parts.hostname in _HERE,
            "base_url is http:// on another machine: a key would travel in the open; use https",
        )
        require(1 <= self.concurrency <= 256, "concurrency must be from 1 to 256")
        require(0 < self.timeout_s < float("inf"), "timeout_s must be above 0")
        require(1 <= self.max_attempts <= 100, "max_attempts must be from 1 to 100")
        require(0 <= self.max_wait_s < float("inf"), "max_wait_s must be at least 0")

    @property
    def name(self) -> str:
        """The server is a part of it: the same model may be cut down differently elsewhere."""
        return f"{self.model} at {self.base_url.rstrip('/')}"

    def open(self, secret: Callable[[str], str | None]) -> "EndpointChat":
        """Ready to ask. `secret` looks up environment variables.

        Raises:
            ConfigError: the key's variable is not set, or holds no key.
        """
        key = None if self.key_env is None else secret(self.key_env)
        if self.key_env is not None:
            if not key or not key.strip():
                raise ConfigError(
                    f"key_env={self.key_env}: no such environment variable; export "
                    f"{self.key_env}=... with the key for {self.base_url}"
                )
            key = key.strip()
            if not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigError(f"key_env={self.key_env}: what it holds is no key")
        return EndpointChat(self, key)


class EndpointChat:
    """Asks an endpoint, several questions at one time."""

    def __init__(self, config: Endpoint, key: str | None) -> None:
        self._config = config
        self._key = key
        self._local = threading.local()
        self._stop = threading.Event()

    @property
    def name(self) -> str:
        return self._config.name

    def ask_all(
        self, questions: Sequence[Question], *, on_answer: OnAnswer | None = None
    ) -> list[Answer]:
        """As `Chat.ask_all`; a question that fails for good ends the others too."""
        if any(question.choices for question in questions):
            raise ConfigError(
                "an endpoint tells no likelihoods: take a local_model for a judge that goes by "
                "them, or the judge pairwise or pointwise"
            )
        answers: dict[int, Answer] = {}
        self._stop.clear()
        with ThreadPoolExecutor(self._config.concurrency, "ask") as pool:
            futures: dict[Future[Answer], int] = {
                pool.submit(self._ask, question): i for i, question in enumerate(questions)
            }
            try:
                for future in as_completed(futures):
                    i = futures[future]
                    answers[i] = future.result()
                    if on_answer is not None:
                        on_answer(i, answers[i])
            finally:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        return [answers[i] for i in range(len(questions))]

    def _ask(self, question: Question) -> Answer:
        """One question, as often as it takes."""
        body = {
            "model": self._config.model,
            "messages": [m.to_json() for m in question.messages],
            "temperature": question.temperature,
            "max_tokens": question.max_tokens,
            "seed": question.seed,
        }
        config = self._config
        for attempt in range(1, config.max_attempts + 1):
            reply = self._post(body)
            if isinstance(reply, Answer):
                return reply
            if attempt == config.max_attempts or self._stop.is_set():
                raise EndpointError(
                    f"{config.name}: {reply.why}, after {attempt} "
                    f"attempt{'s' if attempt > 1 else ''}; answers so far are kept, so the same "
                    "command goes on from there"
                )
            # Waits differ, so that those turned away together do not come back together.
            doubled = min(0.5 * 2 ** (attempt - 1), config.max_wait_s)
            share = (
                0.5 + rng.stream(os.getpid(), "wait", threading.get_ident(), attempt).random() / 2
            )
            wait = doubled * share if reply.after_s is None else reply.after_s
            if wait > config.max_wait_s:
                raise EndpointError(
                    f"{config.name}: {reply.why}, and asks to wait {wait:.0f} s; that is more "
                    f"than max_wait_s={config.max_wait_s:g}"
                )
            self._stop.wait(wait)
        raise AssertionError("unreachable")

    def _post(self, body: Mapping[str, Any]) -> "Answer | _Busy":
        import requests
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self._config.timeout_s
        try:
            with self._session().post(
                f"{self._config.base_url.rstrip('/')}/chat/completions",
                json=body,
                headers={"Accept-Encoding": "identity"},
                timeout=self._config.timeout_s,
                allow_redirects=False,
                stream=True,
                auth=self._sign,
            ) as reply:
                raw = self._read(reply, deadline)
                return self._understood(reply.status_code, reply.headers, raw)
        except (requests.RequestException, HTTPError) as error:
            return _Busy(f"no reply ({type(error).__name__})")
        except TimeoutError:
            return _Busy(f"no whole reply within {self._config.timeout_s:g} s")

    def _session(self) -> "requests.Session":
        """One a thread: they are not made for sharing."""
        import requests

        if "session" not in vars(self._local):
            self._local.session = requests.Session()
            # What is asked of this machine must not leave it by way of a proxy.
            here = _parts(self._config.base_url).hostname in _HERE
            self._local.session.trust_env = not here
        return self._local.session  # type: ignore[no-any-return]

    def _sign(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Given as `auth`, so that no key for this host out of a .netrc is sent instead."""
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _read(self, reply: "requests.Response", deadline: float) -> bytes:
        """Raises: TimeoutError, EndpointError."""
        raw = b""
        # By read1, which returns what is there: a server that drips cannot outlast the deadline.
        while chunk := reply.raw.read1(64 * 1024, decode_content=False):
            raw += chunk
            if len(raw) > MAX_BYTES:
                raise EndpointError(
                    f"{self._config.name}: a reply of more than {MAX_BYTES} bytes; is this a "
                    "server of chat completions?"
                )
            if time.monotonic() > deadline:
                raise TimeoutError
        return raw

    def _understood(self, status: int, headers: Mapping[str, str], raw: bytes) -> "Answer | _Busy":
        config = self._config
        if status in BUSY:
            return _Busy(f"status {status}{self._said(raw)}", retry_after(headers))
        if status in (401, 403):
            held = f"the key in {config.key_env}" if config.key_env else "no key: set key_env"
            raise ConfigError(f"{config.name}: status {status}, refused with {held}")
        if status == 404:
            raise ConfigError(
                f"{config.name}: status 404; check base_url (does it end in /v1?) and model"
                f"{self._said(raw)}"
            )
        if 300 <= status < 400:
            raise ConfigError(
                f"{config.name}: redirects elsewhere (status {status}), which is not followed; "
                "set base_url to where the server is"
            )
        if status != 200:
            raise EndpointError(f"{config.name}: status {status}{self._said(raw)}")
        try:
            return read_answer(json.loads(raw))
        except (ValueError, RecursionError) as error:
            raise EndpointError(
                f"{config.name}: the reply is not JSON ({type(error).__name__}); is this a "
                "server of chat completions?"
            ) from error
        except (KeyError, IndexError, TypeError) as error:
            raise EndpointError(
                f"{config.name}: the reply has no choices[0].message.content; is this a server "
                "of chat completions?"
            ) from error

    def _said(self, raw: bytes) -> str:
        """The start of an error's text, without the key."""
        text = raw[:2000].decode("utf-8", "replace")
        if self._key is not None:
            text = text.replace(self._key, "***")
        short = " ".join(text.split())[:200]
        return f" ({short})" if short else ""


@dataclass(frozen=True, slots=True)
class _Busy:
    """Why there is no answer yet, and how long the server asks to wait."""

    why: str
    after_s: float | None = None


def _parts(base_url: str) -> Any:
    """Raises: ConfigError."""
    try:
        parts = urlsplit(base_url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError("base_url is no address") from None
    require(
        parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_number,
        "base_url must be an address such as https://host/v1",
    )
    require(
        parts.username is None and parts.password is None and not parts.query,
        "base_url must hold no user, password or query: name the key's variable in key_env",
    )
    return parts
