"""A run killed again and again ends with the very bits of one that was never stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("resume_run.py")
KILLS = [
    "metrics sft 3",
    "tensors sft 1",  # of this session: each one below goes on from where the last was killed
    "renamed reward 2",
    "saved reward 1",
    "tensors dpo 3",
    "metrics ppo 2",
    "renamed ppo 1",
    "tensors grpo 2",
    "saved grpo 1",  # a snapshot
    "saved grpo 2",  # the next snapshot, or the final weights
    "metrics lora 4",
]
TIMES = {"train/seconds", "rl/sample_seconds"}

pytestmark = pytest.mark.slow


def session(run_dir: Path, *kill: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(run_dir), *kill],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def state(run_dir: Path) -> dict[str, Any]:
    """All that a run leaves behind, but for times."""
    out: dict[str, Any] = {}
    for stage in sorted((run_dir / "stages").iterdir()):
        done = json.loads((stage / "stage.json").read_text())
        out[stage.name] = {name: a["sha256"] for name, a in done["artifacts"].items()}
        out[f"{stage.name} tallies"] = json.loads((stage / "tallies.json").read_text())
        for name in ("metrics", "samples"):
            file = stage / f"{name}.jsonl"
            rows = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
            out[f"{stage.name} {name}"] = [
                {k: v for k, v in row.items() if k not in TIMES} for row in rows
            ]
    return out


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run_dir = tmp_path_factory.mktemp("whole")
    done = session(run_dir)
    assert done.returncode == 0, done.stderr
    found = state(run_dir)
    assert len(found["05-ppo metrics"]) == 4 and found["05-ppo"]["snapshots"]
    assert len(list((run_dir / "stages" / "05-ppo" / "artifacts" / "snapshots").iterdir())) == 3
    return found


def test_killed_at_every_phase_of_every_training(
    tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    for kill in KILLS:
        done = session(tmp_path, *kill.split())
        assert done.returncode == -9, (kill, done.stderr)
    done = session(tmp_path)
    assert done.returncode == 0, done.stderr
    assert state(tmp_path) == uninterrupted


def test_killed_at_random_moments(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    killed = 0
    for delay in np.random.default_rng(3).uniform(0.3, 2.5, size=6):
        done = session(tmp_path, "after", str(delay))
        assert done.returncode in (-9, 0), done.stderr
        killed += done.returncode == -9
    assert killed >= 1
    assert session(tmp_path).returncode == 0
    assert state(tmp_path) == uninterrupted


def test_sigterm_saves_and_ends_with_143(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    done = session(tmp_path, "term", "ppo", "3")
    assert done.returncode == 143, done.stderr
    assert "Traceback" not in done.stderr
    saved = tmp_path / "stages" / "05-ppo" / "checkpoints"
    assert [p.name for p in saved.glob("step-*")] == ["step-00000003"]
    assert session(tmp_path).returncode == 0
    assert state(tmp_path) == uninterrupted
