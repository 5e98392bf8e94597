"""Configs: strict, typed, and the same after a round trip."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest

from burnish.config import build, override, plain, read_yaml, require, snake
from burnish.errors import ConfigError


class Mode(StrEnum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True, kw_only=True)
class Optim:
    lr: float = 1e-4
    betas: tuple[float, ...] = (0.9, 0.95)

    def __post_init__(self) -> None:
        require(self.lr > 0, f"lr={self.lr} must be positive")


@dataclass(frozen=True, kw_only=True)
class GRPO:
    clip_high: float = 0.2


@dataclass(frozen=True, kw_only=True)
class DPO:
    beta: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    steps: int
    optim: Optim = Optim()
    algorithm: GRPO | DPO = GRPO()
    mode: Mode = Mode.FAST
    kind: Literal["a", "b"] = "a"
    path: Path = Path("x")
    limit: int | None = None
    parts: tuple[DPO, ...] = ()
    named: dict[str, Optim] | None = None


def test_every_kind_of_field_survives_a_round_trip() -> None:
    config = Config(
        steps=3,
        algorithm=DPO(beta=0.3),
        mode=Mode.SLOW,
        path=Path("a/b"),
        limit=4,
        parts=(DPO(), DPO(beta=1)),
        named={"x": Optim(lr=1)},
    )
    assert build(Config, plain(config)) == config
    assert build(Config, plain(Config(steps=1))) == Config(steps=1)


def test_numbers_may_be_written_as_yaml_1_1_misreads_them() -> None:
    assert build(Config, {"steps": "3", "optim": {"lr": "1e-5"}}).optim.lr == 1e-5


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "`steps`: missing: this key has no default"),
        ({"steps": 1, "optm": {}}, "`optm`: unknown key; did you mean `optim`?"),
        ({"steps": 1, "optim": {"lr": -1}}, "`optim.lr`: lr=-1.0 must be positive"),
        ({"steps": 1, "optim": {"lr": float("nan")}}, "`optim.lr`: must be a number, not NaN"),
        ({"steps": True}, "`steps`: must be a number, not true"),
        ({"steps": 1.5}, "`steps`: Input should be a valid integer"),
        ({"steps": 1, "optim": 3}, "`optim`: must be a mapping with the keys of Optim"),
        ({"steps": 1, "algorithm": "gropo"}, "`algorithm`: choose one: did you mean `grpo`?"),
        ({"steps": 1, "algorithm": {"grpo": {"clip": 1}}}, "`algorithm.grpo.clip`: unknown key"),
        ({"steps": 1, "mode": "medium"}, "`mode`: Input should be 'fast' or 'slow'"),
        ({"steps": 1, "parts": [{"bet": 1}]}, "`parts.0.bet`: unknown key"),
    ],
)
def test_a_wrong_value_names_its_key_and_the_fix(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Config, raw)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", ":2: `a` is given twice"),
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}:") and message in str(caught.value)


def test_a_file_with_a_byte_order_mark_and_crlf_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa:\r\n  b: 1\r\n")
    data, lines = read_yaml(path)
    assert data == {"a": {"b": 1}} and lines.at("a.b") == f"{path}:2"


def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="cannot read"):
        read_yaml(path)


def test_override_reaches_into_defaults_lists_and_one_key_forms() -> None:
    raw = {"algorithm": {"grpo": {"clip_high": 0.2}}, "parts": [{"beta": 1}], "limit": None}
    got = override(raw, ["algorithm.clip_high=0.28", "parts.0.beta=2", "limit.beta=3", "new.a=[1]"])
    assert got == {
        "algorithm": {"grpo": {"clip_high": 0.28}},
        "parts": [{"beta": 2}],
        "limit": {"beta": 3},
        "new": {"a": [1]},
    }
    assert raw["algorithm"] == {"grpo": {"clip_high": 0.2}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("GRPO", "grpo"), ("BestOfN", "best_of_n"), ("TrainReward", "train_reward"), ("SFT", "sft")],
)
def test_class_names_in_yaml(name: str, expected: str) -> None:
    assert snake(name) == expected
