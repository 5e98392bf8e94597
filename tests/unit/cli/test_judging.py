"""`burnish calibrate-judge`: what it writes, prints and refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish import cli
from tests.fake_server import serving
from tests.unit.stages.test_judging import KEY, always_first, honest

Calibrate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def calibrate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Calibrate:
    rows = [{"prompt": f"Colour {i}?", "chosen": "good", "rejected": "bad"} for i in range(30)]
    rows.append({"prompt": "Same?", "chosen": "x", "rejected": "x"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_KEY", KEY)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["burnish", "calibrate-judge", "pairs.jsonl", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_a_judge_is_measured_and_the_figures_shown_and_written(
    calibrate: Calibrate, tmp_path: Path
) -> None:
    with serving(honest) as server:
        code, out, err = calibrate(
            "--endpoint", server.url, "--model", "m", "--key-env", "MY_KEY", "--num", "20",
            "--prompt-price", "1000",
        )  # fmt: skip
        asked = len(server.bodies)
        again = calibrate("--endpoint", server.url, "--model", "m", "--num", "20")
    assert code == 0 and asked == len(server.bodies) == 40
    assert "labelled pairs                 20 of 20 prompts\n" in out
    assert "agreement with labels          1.000 [0.839, 1.000]\n" in out
    assert "asked 40 (from the cache 0): 400 prompt and 120 completion tokens, cost 0.4" in out
    assert "of 31 rows left out: {'identical': 1}" in err
    assert "asked 0 (from the cache 40)" in again[1]
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert found["judge"]["kind"] == "pairwise" and len(found["pairs"]) == 20
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_bad_judge_is_measured_all_the_same(calibrate: Calibrate) -> None:
    with serving(always_first) as server:
        code, out, err = calibrate("--endpoint", server.url, "--model", "m")
    assert "it would be refused, with the usual `trust`: calibration.json: this judge" in err
    assert code == 0 and "same verdict in both orders    0.000 [0.000, 0.114]" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "who is the judge?"),
        (("--endpoint", "https://h/v1"), "needs --model"),
        (("--local", "x", "--model", "m"), "are for --endpoint"),
        (("--endpoint", "https://h/v1", "--model", "m", "--local", "x"), "who is the judge?"),
        (("--endpoint", "https://h/v1", "--model", "m", "--key-env", "NONE"), "NONE: no such"),
        (("--local", "x", "--kind", "pairwize"), "did you mean `pairwise`?"),
        (("--local", "x", "--samples", "3"), "--samples is for"),
        (("--local", "x", "--rubric", "none.txt"), "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    args: tuple[str, ...], words: str, calibrate: Calibrate
) -> None:
    code, _, err = calibrate(*args)
    assert code == 2 and words in err and err.splitlines()[-1].startswith("error: ")
