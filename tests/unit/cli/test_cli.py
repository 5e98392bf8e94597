"""The command line: errors are one line with their exit code, and starting it costs little."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from burnish import cli
from burnish.cli import recipes, speed, terminal
from burnish.errors import ModelError
from burnish.pipeline.budget import Speeds
from burnish.stages import report, report_check
from tests.unit.cli.tiny_model import write_model
from tests.unit.pipeline.tiny import REGISTRY, YAML

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def burnish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command line in an empty directory, over tiny stages and a tiny report."""
    said = ["sft.loss: 1 in the report, 2\x1b[31m in the files"]
    monkeypatch.setattr(report, "write_report", lambda run_dir: run_dir / "report.html")
    monkeypatch.setattr(report_check, "check_report", lambda run_dir: said)
    monkeypatch.setattr(recipes, "STAGES", REGISTRY)
    measured = iter(
        [Speeds(sampled=50, trained=10, scored=100)] + [Speeds(sampled=9, trained=9, scored=9)] * 9
    )
    monkeypatch.setattr(speed, "measure", lambda model, device: next(measured))
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(YAML)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["burnish", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, burnish.cli; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "numpy", "pydantic", "rich", "plotly"} & set(
        done.stdout.split()
    )


def test_a_run_then_a_rerun_then_a_report(burnish: Cli, tmp_path: Path) -> None:
    code, out, _ = burnish("run", "tiny.yaml", "--seed", "5")
    assert code == 0 and "[4/4] judge done" in out and "report: runs/tiny/report.html" in out
    assert json.loads((tmp_path / "runs/tiny/stages/01-base/config.json").read_text())["seed"]
    code, out, _ = burnish("resume", "runs/tiny")
    assert code == 0 and out.count("unchanged") == 4
    code, out, err = burnish("report", "runs/tiny", "--check")
    assert (code, out) == (1, "")
    assert err == "error: sft.loss: 1 in the report, 2\\x1b[31m in the files\n"


def test_until_leaves_the_rest_for_a_resume(burnish: Cli) -> None:
    assert "the rest: burnish resume runs/tiny" in burnish("run", "tiny.yaml", "--until", "sft")[1]
    assert "report: runs/tiny/report.html" in burnish("resume", "runs/tiny")[1]


def test_a_stopped_run_exits_as_its_signal_asks_and_says_how_to_go_on(burnish: Cli) -> None:
    wait = ("--set", "rl.kill_at=1", "--set", "rl.how=TERM")
    code, out, err = burnish("run", "tiny.yaml", *wait)
    assert code == 143 and "go on with: burnish resume runs/tiny" in out and not err
    code, out, _ = burnish("resume", "runs/tiny")
    assert code == 0 and "rl: goes on from its last checkpoint" in out


def test_a_budget_cuts_steps_and_stays_settled_when_speeds_change(
    burnish: Cli, tmp_path: Path
) -> None:
    code, out, _ = burnish("run", "tiny.yaml", "--budget", "40s")  # 7 steps of 10 s
    assert code == 0 and "with 62% of its steps: about 0:40 here" in out
    resolved = (tmp_path / "runs/tiny/recipe.yaml").read_text()
    assert "steps: 2" in resolved and "steps: 3" not in resolved
    assert burnish("run", "tiny.yaml", "--budget", "40s")[1].count("unchanged") == 4


def test_a_changed_value_redoes_its_own_stages_of_a_run_that_was_cut(burnish: Cli) -> None:
    burnish("run", "tiny.yaml", "--budget", "40s")
    code, out, _ = burnish("run", "tiny.yaml", "--budget", "40s", "--set", "rl.steps=5")
    assert code == 0 and out.count("unchanged") == 2, out


def test_a_recipes_own_budget_cuts_it_to_no_less_than_a_third(
    burnish: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(YAML.replace("seed: 7", "seed: 7\nbudget: 40s"))
    code, out, _ = burnish("run", "tiny.yaml")
    assert code == 0 and "tiny with 62% of its steps: about 0:40 here" in out
    assert "budget" not in (tmp_path / "runs/tiny/recipe.yaml").read_text()
    assert burnish("resume", "runs/tiny")[1].count("unchanged") == 4
    code, out, _ = burnish("run", "tiny.yaml", "--budget", "all", "--out", "runs/whole")
    assert code == 0 and "of its steps" not in out
    assert "steps: 3" in (tmp_path / "runs/whole/recipe.yaml").read_text()
    code, out, _ = burnish("run", "tiny.yaml", "--set", "budget=1s", "--out", "runs/short")
    assert code == 0 and "in 1.0 s it would have less than 33% of its steps here" in out
    factor = json.loads((tmp_path / "runs/short/budget.json").read_text())["factor"]
    assert factor == pytest.approx(1 / 3)
    code, _, err = burnish("run", "tiny.yaml", "--budget", "1s", "--out", "runs/strict")
    assert code == 2 and "too short for tiny" in err, "what is asked for is kept to"


def test_the_quickstart_and_all_laptop_recipes_have_a_budget() -> None:
    budgets = {name: recipes.load_recipe(name).budget for name in recipes.packaged()}
    wanted = {name: "20m" for name in budgets if name.endswith("-laptop")} | {"quickstart": "10m"}
    assert len(wanted) == 9
    assert {name: budget for name, budget in budgets.items() if budget} == wanted


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("run", "tiny.yaml", "--set", "sft.stepz=1"), 2, "did you mean `steps`"),
        (("run", "tiny.yaml", "--budget", "soon"), 2, "write it like 90s, 8m or 1h30m"),
        (("run", "tiny.yaml", "--budget", "1s"), 2, "too short for tiny"),
        (("run", "tiny.yaml", "--until", "judg"), 2, "did you mean `judge`"),
        (("run", "cartpol"), 2, "did you mean `cartpole`"),
        (("run", "no/such.yaml"), 2, "no/such.yaml: no such file"),
        (("resume", "nowhere"), 1, "nowhere: no run here"),
        (("report", "nowhere"), 1, "nowhere: no run here"),
        (("get", "smolm2"), 1, "smollm2"),
    ],
)
def test_what_is_wrong_is_one_line_on_standard_error(
    burnish: Cli, args: tuple[str, ...], code: int, words: str
) -> None:
    got, out, err = burnish(*args)
    assert got == code and (not out or out.startswith("timing this machine"))
    assert err.startswith("error: ") and err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("command", ["run", "resume", "chat", "eval"])
def test_a_gpu_that_is_not_there_is_one_line(
    burnish: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = str(write_model(tmp_path / "model"))
    burnish("run", "tiny.yaml", "--until", "base", "--device", "auto")
    environment = json.loads((tmp_path / "runs/tiny/env.json").read_text())
    assert environment["sessions"][0]["device"] == "cpu"
    where = {"run": "tiny.yaml", "resume": "runs/tiny"}
    code, _, err = burnish(command, where.get(command, model), "--device", "cuda")
    assert code == 2 and err.startswith("error: device=cuda: torch can use no GPU")
    assert err.count("\n") == 1


def test_usage_errors_suggest_the_command_that_was_meant(burnish: Cli) -> None:
    code, _, err = burnish("rnu")
    assert code == 2 and "Did you mean 'run'?" in err


def test_debug_adds_the_traceback_wherever_it_stands(burnish: Cli) -> None:
    for args in (("--debug", "resume", "nowhere"), ("resume", "nowhere", "--debug")):
        code, _, err = burnish(*args)
        assert code == 1 and "Traceback" in err and err.endswith("directory of a run\n")


def test_show_prints_the_graph_and_every_value(burnish: Cli) -> None:
    code, out, _ = burnish("show", "tiny.yaml", "--set", "sft.algorithm.beta=0.25")
    assert code == 0
    assert "2  sft (train) -> model\n       from base.model, base.problems\n" in out
    assert "beta: 0.25" in out and "kill_at: -1" in out


def test_recipes_lists_those_that_ship(burnish: Cli) -> None:
    assert "cartpole  " in burnish("recipes")[1]


def test_doctor_says_what_is_missing_and_the_fix(
    burnish: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.models import get

    def nothing(name: str, cache: Path) -> Path:
        raise ModelError("no")

    monkeypatch.setattr(get, "locate", nothing)
    code, out, _ = burnish("doctor")
    assert code == 1 and "missing model smollm2" in out and "fix: burnish get smollm2" in out


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", "/a/b")
    assert terminal.cache_dir() == Path("/a/b")
    monkeypatch.delenv("BURNISH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert terminal.cache_dir() == Path("/c/burnish")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert terminal.cache_dir() == Path.home() / ".cache/burnish"


def test_speeds_keep_the_better_of_two_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([Speeds(sampled=5, trained=1, scored=9), Speeds(sampled=4, trained=2, scored=9)])
    monkeypatch.setattr(speed, "measure", lambda model, device: next(found))
    assert speed.speeds(tmp_path, None, "cpu").sampled == 5
    assert speed.speeds(tmp_path, None, "cpu") == Speeds(sampled=5, trained=2, scored=9)
