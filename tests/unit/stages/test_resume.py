"""A run killed again and again ends with the very bits of one that was never stopped."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
PLACES = [str(ROOT / "src"), str(ROOT)]
SCRIPT = Path(__file__).with_name("resume_run.py")
KILLS = [
    "metrics sft 3",
    "tensors sft 1",  # counted anew: each goes on from where the one before was killed
    "renamed reward 2",
    "saved reward 1",
    "tensors dpo 3",
    "metrics ppo 2",
    "renamed ppo 1",
    "tensors grpo 2",
    "saved grpo 1",  # a snapshot
    "saved grpo 2",  # the next snapshot, or the final weights
    "metrics dapo 3",
    "metrics kto 3",
    "metrics lora 4",
    "metrics ptx 2",
    "tensors ptx 2",
    "metrics ptx 2",
    "metrics distill 3",
    "renamed distill 2",
    "tensors distill 1",
]
DELAYS = np.random.default_rng(3).uniform(0.2, 2.0, size=10)
SESSIONS = {
    "whole": [""],
    "phases": [*KILLS, ""],
    "random": [*(f"after {delay}" for delay in DELAYS), ""],
    "sigterm": ["term ppo 3", ""],
}
TIMES = {"train/seconds", "rl/sample_seconds", "distill/sample_seconds"}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Runs:
    """Where each run lies, and how its processes ended."""

    folder: Path
    codes: dict[str, list[int]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The whole run by one program, the others by another, whose hashes of text differ.

    The first also compiles what it computes with, which the other loads: both must round alike.
    """
    folder = tmp_path_factory.mktemp("runs")
    env = os.environ | {
        "NUMBA_CACHE_DIR": str(folder / "compiled"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(PLACES),
    }
    codes: dict[str, list[int]] = {}
    for names in (["whole"], ["phases", "random", "sigterm"]):
        todo = [(str(folder / name), kill) for name in names for kill in SESSIONS[name]]
        done = subprocess.run(
            [sys.executable, str(SCRIPT)],
            input=json.dumps(todo),
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        found = iter(json.loads(done.stdout.splitlines()[-1]))
        codes |= {name: [next(found) for _ in SESSIONS[name]] for name in names}
    return Runs(folder, codes)


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


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_the_run_that_was_never_stopped_is_whole(runs: Runs) -> None:
    assert runs.codes["whole"] == [0]
    found = state(runs.folder / "whole")
    assert len(found["05-ppo metrics"]) == 4
    stages = runs.folder / "whole" / "stages"
    for name in ("05-ppo", "06-grpo", "07-dapo", "09-lora"):
        assert len(list((stages / name / "artifacts" / "snapshots").glob("step-*"))) == 2
        assert any(row["train/grad_norm"] > 0 for row in found[f"{name} metrics"])
    writers = {row["distill/on_policy"] for row in found["12-distill metrics"]}
    assert writers == {0.0, 1.0} and len(found["12-distill metrics"]) == 6
    assert len(found["12-distill samples"]) > 6
    assert all(row["rl/beside_nll"] > 0 for row in found["10-ptx metrics"])
    assert all(row["rl/exact_kl"] >= 0 for row in found["09-lora metrics"])
    prices = {row["rl/kl_coef"] for row in found["05-ppo metrics"]}
    assert len(prices) == 4  # the controller moves it at every step


def test_killed_at_every_phase_of_every_training(runs: Runs) -> None:
    assert runs.codes["phases"] == [-9] * len(KILLS) + [0]
    assert_equal(state(runs.folder / "phases"), state(runs.folder / "whole"))


def test_killed_at_random_moments(runs: Runs) -> None:
    *killed, last = runs.codes["random"]
    assert set(killed) <= {-9, 0} and killed[0] == -9 and last == 0
    assert_equal(state(runs.folder / "random"), state(runs.folder / "whole"))


def test_sigterm_saves_and_ends_with_143(runs: Runs) -> None:
    assert runs.codes["sigterm"] == [143, 0]
    assert_equal(state(runs.folder / "sigterm"), state(runs.folder / "whole"))
