"""`burnish study` lists the studies, runs one on the model asked for, and prints what it found."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import Markup

from burnish import cli
from burnish.cli import recipes, studies
from burnish.pipeline.run import Run
from burnish.stages import report
from burnish.stages.report_markup import Finding
from tests.unit.pipeline.tiny import REGISTRY, YAML

Cli = Callable[..., tuple[int, str, str]]


class Found:
    """A report with one finding."""

    findings = (Finding(text=Markup("gold &gt; 0 <b>by</b> {}").format("1 [0, 2]")),)


@pytest.fixture
def burnish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command line where one tiny study ships."""
    (tmp_path / "packaged.yaml").write_text(YAML)
    tiny = {"tiny": studies.Study(question="How small?", time="1 s")}
    monkeypatch.setattr(studies, "STUDIES", tiny)
    monkeypatch.setattr(recipes, "STAGES", REGISTRY)
    monkeypatch.setattr(recipes, "packaged", lambda: {"tiny": tmp_path / "packaged.yaml"})
    monkeypatch.setattr(report, "write_report", lambda run_dir: run_dir / "report.html")
    monkeypatch.setattr(report, "build_report", lambda run_dir: Found())
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["burnish", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_without_a_name_the_studies_are_listed_with_question_and_time(burnish: Cli) -> None:
    code, out, _ = burnish("study")
    assert code == 0 and "tiny   1 s        How small?" in out


def test_a_study_runs_its_recipe_and_prints_its_findings_and_report(burnish: Cli) -> None:
    code, out, _ = burnish("study", "tiny", "--set", "sft.steps=1", "--seed", "3")
    assert code == 0 and "[4/4] judge done" in out
    assert "report: runs/tiny/report.html" in out
    assert out.endswith("\nHow small?\n- gold > 0 by 1 [0, 2]\n")
    assert Run.open(Path("runs/tiny")).finished()
    assert "seed: 3" in Path("runs/tiny/recipe.yaml").read_text()


def test_a_file_of_the_same_name_in_the_directory_is_not_taken_for_the_study(
    burnish: Cli,
) -> None:
    Path("tiny").write_text("name: other\n")
    assert burnish("study", "tiny", "--set", "rl.steps=1")[0] == 0


def test_a_wrong_name_or_a_start_that_cannot_be_set_is_one_line(burnish: Cli) -> None:
    code, _, err = burnish("study", "tin")
    assert code == 2 and err == "error: no study `tin`; did you mean `tiny`?\n"
    # The tiny recipe's `base` loads no model: its name cannot be set.
    code, _, err = burnish("study", "tiny", "--model", "my: model")
    assert code == 2 and "base.name" in err and err.count("\n") == 1


@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_study_ships_and_starts_from_the_model_asked_for(name: str) -> None:
    recipe = recipes.load_recipe(name, ["base.name='my: model'"])
    assert recipe.name == name and recipe.stages["base"].name == "my: model"  # type: ignore[attr-defined]
