"""What a user's reward function may do wrong, and that it costs no more than its completion."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError, RewardError
from burnish.types import Conversation, Problem
from burnish.verifiers.user_function import UserFunction, sample_of
from burnish.verifiers.worker_pool import Answer, WorkerPool

PROBLEM = Problem(prompt=Conversation.of("Say it."), task="own", answer="7", meta='{"k": [1]}')

WAYS = """
import os, signal, sys, time
from fractions import Fraction
import numpy as np

class Odd(Exception):
    def __str__(self):
        raise ValueError("no")

def score(prompt, completion, answer, meta):
    match completion:
        case "right": return 0.5
        case "inputs":
            assert (prompt, answer, meta) == ("Say it.", "7", {"k": [1]}), (prompt, answer, meta)
            meta["k"].append(2); meta["more"] = 1
            return 1
        case "raise": raise KeyError("lost")
        case "odd": raise Odd()
        case "assert": assert False
        case "exit": sys.exit(3)
        case "hard exit": os._exit(4)
        case "kill": os.kill(os.getpid(), signal.SIGKILL)
        case "stop": os.kill(os.getpid(), signal.SIGSTOP)
        case "hang":
            while True: pass
        case "child":
            if os.fork() == 0: time.sleep(60)
            os._exit(5)
        case "deep":
            def down(): return down()
            return down()
        case "interrupt": raise KeyboardInterrupt
        case "print":
            for _ in range(1 << 8): sys.stdout.write("x" * (1 << 22)); os.write(2, b"y" * 1000)
            return 0.25
        case "garble":
            for fd in range(3, 64):
                try: os.write(fd, (5).to_bytes(8, "big") + b"[1,2]")
                except OSError: pass
            return 1.0
        case "close": os.closerange(0, 64); return 1.0
        case "nan": return float("nan")
        case "inf": return -float("inf")
        case "huge": return 10 ** 400
        case "none": return None
        case "text": return "0.5"
        case "bool": return True
        case "complex": return 1j
        case "list": return [1.0]
        case "array": return np.zeros(3)
        case "numpy": return np.float32(0.25)
        case "numpy int": return np.int64(2)
        case "numpy bool": return np.bool_(True)
        case "fraction": return Fraction(3, 4)
        case "slow": time.sleep(0.1); return 1.0
        case "draw":
            import random
            return random.random()
        case "fork": return float(os.fork() > 0)
        case "forged":
            forged = b'[[9.0, "", ""]]'
            for fd in range(3, 64):
                try: os.write(fd, len(forged).to_bytes(8, "big") + forged)
                except OSError: pass
            return 1.0
        case "stale":
            forged = b'{"number": 1, "answers": [[9.0, "", ""]]}'
            for fd in range(3, 64):
                try: os.write(fd, len(forged).to_bytes(8, "big") + forged)
                except OSError: pass
            return 1.0
        case _: return float(len(completion))
"""


def function(folder: Path, source: str = WAYS, **changed: Any) -> UserFunction:
    path = folder / "my_rewards.py"
    path.write_text(source)
    return UserFunction(**({"path": str(path), "timeout_s": 30.0, "workers": 1} | changed))


def asked(pool: WorkerPool, *completions: str) -> list[Answer]:
    futures = [pool.submit([sample_of(PROBLEM, text)]) for text in completions]
    return [answer for future in futures for answer in future.result()]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    with function(tmp_path_factory.mktemp("own"), memory_mb=4096).pool() as pool:
        yield pool


@pytest.mark.parametrize(
    ("way", "score"),
    [
        ("right", 0.5),
        ("numpy", 0.25),
        ("numpy int", 2.0),
        ("fraction", 0.75),
        ("print", 0.25),
        ("inputs", 1.0),
        ("fork", 1.0),
    ],
)
def test_a_real_number_is_a_score(pool: WorkerPool, way: str, score: float) -> None:
    assert asked(pool, way, way, "abc") == [Answer(score=score)] * 2 + [Answer(score=3.0)]


@pytest.mark.parametrize(
    ("way", "cause", "why"),
    [
        ("raise", "raised", "KeyError: 'lost' (line 17)"),
        ("odd", "raised", "Odd: (its message cannot be shown)"),
        ("assert", "raised", "AssertionError: "),
        ("deep", "raised", "RecursionError: maximum recursion depth exceeded"),
        ("interrupt", "raised", "KeyboardInterrupt: "),
        ("exit", "exited", "called sys.exit (3)"),
        ("hard exit", "died", "its process ended with exit code 4"),
        ("child", "died", "its process ended with exit code 5"),
        ("kill", "died", "its process was killed by signal 9"),
        ("close", "died", ""),
        ("garble", "died", "its answer was garbled"),
        ("forged", "died", "its answer was garbled"),
        ("stale", "died", "its answer was garbled"),
        ("nan", "not_finite", "returned nan"),
        ("inf", "not_finite", "returned -inf"),
        ("huge", "not_finite", "returned inf"),
        ("none", "abstained", "returned None"),
        ("text", "not_a_number", "returned str, not a number"),
        ("bool", "not_a_number", "returned bool, not a number"),
        ("numpy bool", "not_a_number", "returned bool"),
        ("complex", "not_a_number", "returned complex, not a number"),
        ("list", "not_a_number", "returned list, not a number"),
        ("array", "not_a_number", "returned ndarray, not a number"),
    ],
)
def test_what_is_no_score_costs_its_completion_only(
    pool: WorkerPool, way: str, cause: str, why: str
) -> None:
    before, bad, after = asked(pool, "ab", way, "abc")
    assert (before, after) == (Answer(score=2.0), Answer(score=3.0))
    assert bad.score is None and bad.cause == cause and why in bad.why


def test_a_call_that_takes_too_long_is_killed_and_the_next_is_answered(tmp_path: Path) -> None:
    with function(tmp_path, timeout_s=1.0).pool() as pool:
        for way in ("hang", "stop"):
            before, bad, after = asked(pool, "ab", way, "abc")
            assert (before.score, after.score) == (2.0, 3.0)
            assert (bad.score, bad.cause, bad.why) == (None, "timeout", "no answer within 1 s")


def test_the_order_is_that_of_the_completions_whatever_the_number_of_workers(
    tmp_path: Path,
) -> None:
    texts = ["slow", "a", "kill", "slow", "abcd", "draw", "none", "ab"] * 3
    found = []
    for workers in (1, 3):
        with function(tmp_path, workers=workers).pool() as pool:
            found.append(asked(pool, *texts))
            assert pool.num_started <= workers + 3
    assert found[0] == found[1]
    assert [a.score for a in found[0][:3]] == [1.0, 1.0, None]
    drawn = {answer.score for answer, text in zip(found[0], texts, strict=True) if text == "draw"}
    assert len(drawn) == 1


def test_inputs_are_the_workers_own(pool: WorkerPool) -> None:
    assert asked(pool, "inputs", "inputs", "inputs") == [Answer(score=1.0)] * 3
    assert PROBLEM.meta == '{"k": [1]}'


def test_any_text_arrives_as_it_is(tmp_path: Path) -> None:
    source = (
        "def score(p, completion, a, m): return len(completion.encode('utf-8', 'surrogatepass'))"
    )
    with function(tmp_path, source).pool() as pool:
        texts = ["", "\0", "\ud800", "é\u202e", "x" * 3_000_000]
        assert [a.score for a in asked(pool, *texts)] == [0, 1, 3, 5, 3_000_000]


def test_no_process_is_started_before_there_is_work_and_none_is_left(tmp_path: Path) -> None:
    source = "import os\ndef score(p, c, a, m): return os.getpid()"
    with function(tmp_path, source, workers=2).pool() as pool:
        assert pool.num_started == 0
        (answer,) = asked(pool, "x")
    assert answer.score is not None
    with pytest.raises(ProcessLookupError):
        os.kill(int(answer.score), 0)


def test_a_worker_is_used_again(pool: WorkerPool) -> None:
    asked(pool, "right")
    started = pool.num_started
    asked(pool, *["right"] * 20)
    assert pool.num_started == started


def test_closing_does_not_wait_for_a_call_that_hangs(tmp_path: Path) -> None:
    with function(tmp_path, timeout_s=60.0).pool() as pool:
        future = pool.submit([sample_of(PROBLEM, "hang")])
        pool.submit([sample_of(PROBLEM, "hang")])
        time.sleep(0.5)
        started = time.perf_counter()
    assert time.perf_counter() - started < 5
    assert future.result()[0].score is None


def test_workers_die_with_the_process_that_trains(tmp_path: Path) -> None:
    source = f"""
import os, time
def score(p, c, a, m):
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    while True: pass
"""
    own = function(tmp_path, source)
    code = f"""
from burnish.types import Conversation, Problem
from burnish.verifiers.user_function import UserFunction, sample_of
pool = UserFunction(path={own.path!r}, timeout_s=600.0).pool()
pool.submit([sample_of(Problem(prompt=Conversation.of(""), task=""), "")]).result()
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    stat = Path("/proc", pid.read_text(), "stat")
    while stat.exists() and " Z " not in stat.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline


def test_what_a_worker_started_ends_with_it(tmp_path: Path) -> None:
    source = f"""
import os, time
def score(p, c, a, m):
    if (child := os.fork()) == 0:
        time.sleep(60)
    open({str(tmp_path / "pid")!r}, "w").write(str(child))
    os._exit(5) if c == "exits" else time.sleep(60)
"""
    for text, cause, limit in (("exits", "died", 30.0), ("hangs", "timeout", 1.0)):
        with function(tmp_path, source, timeout_s=limit).pool() as pool:
            (answer,) = asked(pool, text)
        assert answer.cause == cause
        stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
        deadline = time.monotonic() + 10
        while stat.exists() and " Z " not in stat.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert time.monotonic() < deadline


def test_memory_is_limited_where_asked(tmp_path: Path) -> None:
    source = "def score(p, c, a, m): return len(bytearray(1 << 29)) / (1 << 29)"
    with function(tmp_path, source, memory_mb=256).pool() as pool:
        (answer,) = asked(pool, "x")
    assert answer.cause == "raised" and "MemoryError" in answer.why
    with function(tmp_path, source).pool() as pool:
        assert asked(pool, "x") == [Answer(score=1.0)]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nowhere\ndef score(*a): return 1", "ModuleNotFoundError: .* \\(line 1\\)"),
        ("score = 3", "TypeError: there is no function `score`"),
        ("import os\nos._exit(9)\ndef score(*a): return 1", "ended with exit code 9"),
        ("import sys\nsys.exit(9)\ndef score(*a): return 1", "SystemExit: 9"),
    ],
)
def test_a_file_that_cannot_be_loaded_ends_the_run(tmp_path: Path, source: str, why: str) -> None:
    with function(tmp_path, source).pool() as pool, pytest.raises(RewardError, match=why):
        asked(pool, "x")


def test_the_file_may_import_its_neighbours_and_later_edits_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 2.5")
    source = (
        "import beside, os\ndef score(p, c, a, m):\n    return c and os._exit(1) or beside.VALUE"
    )
    own = function(tmp_path, source)
    with own.pool() as pool:
        Path(own.path).write_text("def score(p, c, a, m): return 99.0")
        assert [a.score for a in asked(pool, "", "dies", "")] == [2.5, None, 2.5]


BATCHED = """
import numpy as np
def score(prompts, completions, answers, metas):
    assert len(prompts) == len(answers) == len(metas) == len(completions)
    match completions[0]:
        case "ranks": return [sorted(completions).index(c) for c in completions]
        case "array":
            return np.arange(len(completions)) / 2
        case "short": return [1.0]
        case "one": return 1.0
        case "text": return "abc"
        case "mixed": return [None, "x", float("inf")]
        case "hang":
            while True: pass
        case _: raise ValueError("no")
"""


def test_a_batch_is_answered_in_its_order_and_fails_as_one(tmp_path: Path) -> None:
    with function(tmp_path, BATCHED, batched=True, timeout_s=1.0).pool() as pool:

        def batch(*texts: str) -> list[Answer]:
            return pool.submit([sample_of(PROBLEM, text) for text in texts]).result()

        assert [a.score for a in batch("ranks", "b", "z")] == [1, 0, 2]
        assert [a.score for a in batch("array", "", "")] == [0.0, 0.5, 1.0]
        wrong = batch("short", "", "")
        assert {(a.cause, a.why) for a in wrong} == {
            ("wrong_length", "returned 1 scores for 3 completions")
        }
        for first, cause in (("one", "not_a_number"), ("text", "not_a_number"), ("", "raised")):
            assert [a.cause for a in batch(first, "", "")] == [cause] * 3
        assert [a.cause for a in batch("mixed", "", "")] == [
            "abstained",
            "not_a_number",
            "not_finite",
        ]
        assert [a.why for a in batch("hang", "", "")] == ["no answer within 3 s"] * 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def scores(): pass", "defines no function `score`; did you mean `scores`"),
        ("def score(:", "my_rewards.py:1: is not valid Python"),
        ("", "it defines nothing"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_runs(
    tmp_path: Path, source: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        function(tmp_path, source).digest()


def test_the_digest_follows_the_content_and_the_file_is_not_run(tmp_path: Path) -> None:
    one = function(tmp_path, "raise SystemExit\ndef score(): pass").digest()
    assert function(tmp_path, "raise SystemExit\ndef score(): pass").digest() == one
    assert function(tmp_path, "raise SystemExit\ndef score(): 1").digest() != one
    assert function(tmp_path, "try:\n  from a import b as score\nexcept OSError: pass").digest()
    with pytest.raises(ConfigError, match="cannot read the reward function"):
        UserFunction(path=str(tmp_path / "none.py")).digest()


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_s": 0.0},
        {"timeout_s": float("inf")},
        {"memory_mb": 1},
        {"workers": 0},
        {"max_failures": 1.5},
        {"window": 5},
        {"function": "a b"},
        {"path": ""},
    ],
)
def test_wrong_knobs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        UserFunction(**({"path": "x.py"} | wrong))


@pytest.mark.parametrize("meta", ["[1]", "{", "7"])
def test_meta_that_is_no_object_is_the_datas_fault(meta: str) -> None:
    with pytest.raises(DataError, match="`meta` must be a JSON object"):
        sample_of(Problem(prompt=Conversation.of("x"), task="t", meta=meta), "")
    assert json.loads(sample_of(PROBLEM, "").meta) == {"k": [1]}
