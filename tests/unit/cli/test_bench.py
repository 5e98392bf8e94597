"""The command that times a model on this machine."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from burnish import cli
from burnish.bench import machine
from tests.unit.cli.tiny_model import write_model

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "one")


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    """Runs the command with products and memory of toy sizes."""
    monkeypatch.setattr(machine, "SQUARES", (16, 32))
    monkeypatch.setattr(machine, "LAYER_TOKENS", 64)
    monkeypatch.setattr(machine, "HEAD_TOKENS", 16)
    monkeypatch.setattr(machine, "READ_BYTES", 1 << 16)
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path))

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["burnish", "bench", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Everything in the JSON that is no list and no object, with where it stands."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}")
    elif isinstance(value, list):
        assert value, name
        for number, item in enumerate(value):
            yield from leaves(item, f"{name}.{number}")
    else:
        yield name, value


def test_as_json_every_number_is_positive_and_finite(bench: Bench, model: Path) -> None:
    code, out, err = bench("--model", str(model), "--json")
    found = json.loads(out)
    assert code == 0 and "timing steps of SFT" in err
    assert found["model"] == "one" and [d["rows"] for d in found["work"]["decoding"]] == [1, 16, 64]
    numbers = {n: v for n, v in leaves(found) if not isinstance(v, str) and v is not None}
    assert len(numbers) > 90
    assert [n for n, v in numbers.items() if not (math.isfinite(v) and v > 0)] == []
    assert {n for n, v in leaves(found) if v is None} <= {".machine.gpu"}


def test_as_text_every_kind_of_work_has_a_line(bench: Bench, model: Path) -> None:
    code, out, _ = bench("--model", str(model))
    starts = (
        "products in bfloat16", "reading memory", "SFT, 4 documents of 511", "prefill, ",
        "decoding, 1 row ", "decoding, 64 rows", "sampling", "optimiser", "peak memory",
    )  # fmt: skip
    assert code == 0
    assert [s for s in starts if not any(ln.startswith(s) for ln in out.splitlines())] == []


@pytest.mark.parametrize("name", ["smolm2", "."])
def test_a_model_that_is_not_there_is_one_line(bench: Bench, name: str) -> None:
    code, out, err = bench("--model", name)
    assert (code, out) == (1, "") and err.startswith("error: ") and err.count("\n") == 1
