"""Metrics: declared, one JSON object a line, and rewound when a run is resumed."""

import json
from pathlib import Path

import pytest

from burnish.errors import RunError
from burnish.metrics import CATALOGUE, FAMILIES, MetricsWriter, read_metrics


def writer(tmp_path: Path) -> MetricsWriter:
    found = MetricsWriter(tmp_path / "stage" / "metrics.jsonl")
    for step in range(4):
        found.write(step, {"train/loss": 1.0 / (step + 1)})
    return found


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = list(read_metrics(writer(tmp_path).path))
    assert rows[1] == {"step": 1, "train/loss": 0.5} and len(rows) == 4


def test_an_undeclared_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="'train/los' is not in the catalogue"):
        writer(tmp_path).write(9, {"train/los": 1.0})


def test_rewinding_drops_rows_from_the_resumed_step_on(tmp_path: Path) -> None:
    found = writer(tmp_path)
    found.rewind(2)
    assert [row["step"] for row in read_metrics(found.path)] == [0, 1]


def test_a_last_line_cut_short_by_a_kill_is_passed_over_and_mended(tmp_path: Path) -> None:
    found = writer(tmp_path)
    found.path.write_text(found.path.read_text()[:-9])
    assert [row["step"] for row in read_metrics(found.path)] == [0, 1, 2]
    found.rewind(3)
    found.write(3, {"train/loss": 0.25})
    assert [row["step"] for row in read_metrics(found.path)] == [0, 1, 2, 3]


def test_damage_anywhere_else_is_not_passed_over(tmp_path: Path) -> None:
    path = writer(tmp_path).path
    path.write_text(path.read_text().replace('"step": 1', '"step": ', 1))
    with pytest.raises(RunError, match=r"metrics.jsonl:2: damaged"):
        list(read_metrics(path))


def test_numbers_that_json_has_not_got_are_written_as_null(tmp_path: Path) -> None:
    found = writer(tmp_path)
    found.write(4, {"train/loss": float("nan")})
    last = found.path.read_text().splitlines()[-1]
    assert json.loads(last) == {"step": 4, "train/loss": None}


def test_every_metric_says_what_it_means() -> None:
    for name, metric in {**CATALOGUE, **{f"{f}x": m for f, m in FAMILIES.items()}}.items():
        area, _, rest = name.partition("/")
        assert area and rest and metric.meaning and metric.better in ("", "higher", "lower"), name


def test_parts_of_a_reward_are_metrics_by_the_names_that_they_were_given(tmp_path: Path) -> None:
    found = writer(tmp_path)
    found.write(4, {"rl/reward/form.tags": 0.5, "rl/failed/timeout": 1.0})
    with pytest.raises(RunError, match="'rl/rewards' is not in the catalogue"):
        found.write(5, {"rl/rewards": 0.5})
