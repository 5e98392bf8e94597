"""A client of chat completions, against a server on the loopback that misbehaves on demand."""

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from burnish.errors import ConfigError, EndpointError
from burnish.verifiers import endpoint
from burnish.verifiers.chat import Answer, Prices, Question, Usage
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.reply import retry_after
from tests.fake_server import FakeServer, Reply, said, serving

KEY = "sk-very-secret-123"


def question(text: str = "Which?", seed: int = 7) -> Question:
    return Question.of(text, seed=seed, temperature=0.5, max_tokens=64)


def ask(server: FakeServer, num: int = 1, **settings: Any) -> list[Answer]:
    given: dict[str, Any] = {"max_wait_s": 0.05, "key_env": "MY_KEY"} | settings
    chat = Endpoint(base_url=server.url, model="judge-1", **given).open({"MY_KEY": KEY}.get)
    return chat.ask_all([question(f"Which {i}?") for i in range(num)])


def test_a_question_is_asked_in_openais_form_and_its_answer_read() -> None:
    with serving(lambda body, n: said("Verdict: A", 11, 4)) as server:
        (answer,) = ask(server)
    assert answer == Answer(text="Verdict: A", prompt_tokens=11, completion_tokens=4)
    assert server.bodies == [
        {
            "model": "judge-1",
            "messages": [{"role": "user", "content": "Which 0?"}],
            "temperature": 0.5,
            "max_tokens": 64,
            "seed": 7,
        }
    ]
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_header_is_sent_even_if_a_netrc_knows_the_host(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(lambda body, n: said("x")) as server:
        ask(server, key_env=None)
    assert "Authorization" not in server.headers[0]


def test_what_is_asked_of_this_machine_goes_through_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(lambda body, n: said("x")) as server:
        assert ask(server, max_attempts=1)[0].text == "x"


def test_answers_come_in_order_and_no_more_at_once_than_allowed() -> None:
    def slow_first(body: dict[str, Any], n: int) -> Reply:
        text = body["messages"][0]["content"]
        made = said(text)
        return Reply(made.body, hold_s=0.1 if text == "Which 0?" else 0.01)

    with serving(slow_first) as server:
        answers = ask(server, 12, concurrency=3)
    assert [a.text for a in answers] == [f"Which {i}?" for i in range(12)]
    assert 2 <= server.most_at_once <= 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with serving(lambda b, n: Reply(b"busy", status) if n < 2 else said("yes")) as server:
        assert ask(server)[0].text == "yes"
    assert len(server.bodies) == 3


def test_attempts_are_limited_and_counted_in_the_message() -> None:
    with (
        serving(lambda b, n: Reply(b"overloaded", 503)) as server,
        pytest.raises(EndpointError, match=r"status 503 \(overloaded\), after 3 attempts"),
    ):
        ask(server, max_attempts=3)
    assert len(server.bodies) == 3


def test_retry_after_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with serving(
        lambda b, n: Reply(status=429, headers={"Retry-After": "7"}) if n == 0 else said("yes")
    ) as server:
        chat = Endpoint(base_url=server.url, model="m").open({}.get)
        monkeypatch.setattr(chat._stop, "wait", waits.append)
        assert chat.ask_all([question()])[0].text == "yes"
    assert waits == [7.0]


def test_a_server_that_asks_for_longer_than_allowed_ends_the_run_at_once() -> None:
    after = {"Retry-After": "3600"}
    with (
        serving(lambda b, n: Reply(status=429, headers=after)) as server,
        pytest.raises(EndpointError, match=r"asks to wait 3600 s; .* max_wait_s=0.05"),
    ):
        ask(server)
    assert len(server.bodies) == 1


def test_retry_after_may_be_a_date() -> None:
    when = datetime.now(UTC) + timedelta(seconds=30)
    found = retry_after({"Retry-After": format_datetime(when, usegmt=True)})
    assert found is not None and 27 < found <= 30
    assert retry_after({"Retry-After": "soon"}) is None
    past = {"Retry-After": format_datetime(when - timedelta(days=1))}
    assert retry_after(past) == 0.0


def test_waits_double_up_to_the_limit_and_are_never_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with serving(lambda b, n: Reply(status=500)) as server:
        chat = Endpoint(base_url=server.url, model="m", max_attempts=6, max_wait_s=3).open({}.get)
        monkeypatch.setattr(chat._stop, "wait", waits.append)
        with pytest.raises(EndpointError):
            chat.ask_all([question()])
    full = [0.5, 1, 2, 3, 3]
    assert all(f / 2 <= w <= f for w, f in zip(waits, full, strict=True))
    assert len({w / f for w, f in zip(waits, full, strict=True)}) == 5


def test_a_silent_server_and_a_dripping_one_run_out_of_time() -> None:
    with (
        serving(lambda b, n: Reply(said("x").body, hold_s=0.4)) as server,
        pytest.raises(EndpointError, match="no reply"),
    ):
        ask(server, timeout_s=0.1, max_attempts=1)
    with (
        serving(lambda b, n: Reply(said("x").body, drip_s=0.02)) as server,
        pytest.raises(EndpointError, match=r"no whole reply within 0\.2 s"),
    ):
        ask(server, timeout_s=0.2, max_attempts=1)


def test_no_server_at_all_is_one_line() -> None:
    chat = Endpoint(base_url="http://127.0.0.1:9", model="m", max_attempts=1).open({}.get)
    with pytest.raises(EndpointError, match=r"m at http://127.0.0.1:9: no reply \(Conn"):
        chat.ask_all([question()])


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[1]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {}}]}',
     b'{"choices": [{"message": {"content": 3}}]}', b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_chat_completion_is_refused_and_not_asked_again(body: bytes) -> None:
    with (
        serving(lambda b, n: Reply(body)) as server,
        pytest.raises(EndpointError, match=r"not JSON|no choices\[0\]"),
    ):
        ask(server)
    assert len(server.bodies) == 1


def test_a_huge_reply_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_BYTES", 100_000)
    with (
        serving(lambda b, n: Reply(b"x" * 5_000_000)) as server,
        pytest.raises(EndpointError, match="more than 100000 bytes"),
    ):
        ask(server)


def test_a_refusal_without_text_or_usage_is_an_empty_answer_of_unknown_cost() -> None:
    body = b'{"choices": [{"message": {"content": null}}]}'
    with serving(lambda b, n: Reply(body)) as server:
        (answer,) = ask(server)
    assert answer == Answer(text="")
    usage = Usage()
    usage.add(answer)
    assert usage.unmetered == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "refused with the key in MY_KEY"), (403, "MY_KEY"), (404, "check base_url"),
     (307, "redirects elsewhere")],
)  # fmt: skip
def test_what_a_user_can_mend_is_said_and_not_asked_again(status: int, words: str) -> None:
    with (
        serving(lambda b, n: Reply(b"no", status)) as server,
        pytest.raises(ConfigError, match=words),
    ):
        ask(server)
    assert len(server.bodies) == 1


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with serving(lambda b, n: said("stolen")) as other:
        to = {"Location": f"{other.url}/chat/completions"}
        with (
            serving(lambda b, n: Reply(status=307, headers=to)) as server,
            pytest.raises(ConfigError, match="not followed"),
        ):
            ask(server)
    assert other.bodies == []


def test_errors_never_show_the_key_even_if_the_server_repeats_it() -> None:
    with (
        serving(lambda b, n: Reply(f"bad key {KEY}".encode(), 400)) as server,
        pytest.raises(EndpointError, match=r"status 400 \(bad key \*\*\*\)") as caught,
    ):
        ask(server)
    assert KEY not in str(caught.value)


def test_one_failure_ends_the_others() -> None:
    def first_fails(body: dict[str, Any], n: int) -> Reply:
        return Reply(b"no", 400) if body["messages"][0]["content"] == "Which 0?" else said("x")

    with (
        serving(first_fails) as server,
        pytest.raises(EndpointError),
    ):
        ask(server, 200, concurrency=1)
    assert len(server.bodies) < 200


def test_what_is_told_of_an_answer_may_end_the_asking() -> None:
    with serving(lambda b, n: said("x")) as server:
        chat = Endpoint(base_url=server.url, model="m", concurrency=1).open({}.get)

        def stop(index: int, answer: Answer) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            chat.ask_all([question(str(i)) for i in range(100)], on_answer=stop)
    assert len(server.bodies) < 100


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_env": "sk-123"}, "never a key"),
        ({"base_url": "http://example.com/v1", "key_env": "K"}, "use https"),
        ({"base_url": "https://me:pw@example.com/v1"}, "no user, password"),
        ({"base_url": "ftp://example.com"}, "must be an address"),
        ({"base_url": "https://host:x/v1"}, "no address"),
        ({"model": " "}, "model"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"prices": {"prompt": -1}}, "prompt"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: Any, words: str) -> None:
    from burnish.config import build

    with pytest.raises(ConfigError, match=words) as caught:
        build(Endpoint, {"base_url": "https://example.com/v1", "model": "m"} | settings)
    assert "pw" not in str(caught.value) and "sk-123" not in str(caught.value)


def test_a_missing_or_odd_key_is_named_by_its_variable() -> None:
    config = Endpoint(base_url="https://example.com/v1", model="m", key_env="MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY: no such environment variable"):
        config.open({}.get)
    with pytest.raises(ConfigError, match="no key") as caught:
        config.open({"MY_KEY": "a\nb"}.get)
    assert "a\nb" not in str(caught.value)


def test_cost_is_tokens_times_price() -> None:
    usage = Usage()
    usage.add(Answer(text="", prompt_tokens=1_000_000, completion_tokens=500_000))
    assert usage.cost(Prices(prompt=2.0, completion=8.0)) == pytest.approx(6.0)


def test_the_same_greedy_question_has_one_seed() -> None:
    asked = [Question.of("x", seed=s, temperature=0.0, max_tokens=9) for s in (1, 2)]
    assert asked[0] == asked[1]
    assert re.fullmatch(r"\d+", json.dumps(question(seed=2**63).seed))
