"""The report says what the files say, survives hostile and missing ones, and notices edits."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import RunError
from burnish.evals.stats import paired_interval
from burnish.stages.report import build_report, write_report
from burnish.stages.report_check import check_report
from tests.unit.stages.made_run import HOSTILE, MODELS, STAGES, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_run(tmp_path_factory.mktemp("made") / "run", num_problems=40)
    write_report(path)
    return path


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def _text(run: Path) -> str:
    html = (run / "report.html").read_text(encoding="utf-8")
    return html.partition("<main")[2].partition("</main>")[0]


def _scores(run: Path) -> list[dict[str, object]]:
    lines = next(run.glob("stages/*-scores/artifacts/scores.jsonl")).read_text(encoding="utf-8")
    return [json.loads(line) for line in lines.split("\n") if line]


def test_numbers_are_those_of_the_raw_rows(run: Path) -> None:
    said = json.loads((run / "report.json").read_text(encoding="utf-8"))
    by_model = {
        m: {r["problem"]: float(bool(r["passed"])) for r in _scores(run)
            if r["model"] == m and r["task"] == "chain_sum" and r["score"] is not None}
        for m in MODELS
    }  # fmt: skip
    grpo, sft = by_model["grpo"], by_model["sft"]
    assert said["score/scores/chain_sum/grpo"]["value"] == pytest.approx(sum(grpo.values()) / 40)
    paired = paired_interval([grpo[p] for p in grpo], [sft[p] for p in grpo])
    assert said["gain/scores/chain_sum/grpo"]["value"] == pytest.approx(paired.estimate)
    assert said["gain/scores/chain_sum/grpo/low"]["value"] == pytest.approx(paired.low)
    assert said["unscored/scores/chain_sum/base"]["value"] == 1
    assert said["problems/scores/chain_sum/base"]["value"] == 39
    assert said["total/trained_tokens"]["value"] == 3 * 1_204_311 + 2 * 1_884_200
    assert (
        said["score/scores/chain_sum/grpo"]["source"] == "stages/14-scores/artifacts/scores.jsonl"
    )
    assert all(set(entry) == {"value", "source", "how"} for entry in said.values())


def test_a_fresh_report_passes_its_own_check_and_is_made_alike_twice(run: Path) -> None:
    assert check_report(run) == []
    assert build_report(run).html == (run / "report.html").read_text(encoding="utf-8")


def test_the_summary_says_plainly_what_did_not_improve(run: Path) -> None:
    summary = re.sub(r"<[^>]+>", "", _text(run).partition("What happened")[2].partition("</ul>")[0])
    assert "sft is better than base on chain_sum" in summary
    assert "grpo is better than sft on chain_sum" in summary
    assert "did not improve over sft on everyday (greedy) (difference" in summary
    assert "it beats its matched control on everyday (" in summary
    assert "over-optimisation is visible" in summary
    assert "Many completions were cut at the length limit: base on chain_sum" in summary


def test_text_from_models_cannot_become_markup(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "alert('x')" not in html.replace("&#39;", "'").replace(
        "&lt;script&gt;alert('x')&lt;/script&gt;", ""
    )
    assert "<img src=x" not in html
    assert HOSTILE.startswith("</pre>") and "&lt;/pre&gt;&lt;script&gt;" in html
    scripts = re.findall(r"<script([^>]*)>", html.replace("<script(", ""))
    kinds = [s for s in scripts if 'type="application/json"' not in s]
    assert kinds == ["", ""]


def test_the_page_allows_its_own_two_scripts_and_fetches_nothing(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    rules = dict(part.split(" ", 1) for part in policy.group(1).replace("&#39;", "'").split("; "))
    assert rules["default-src"] == "'none'"
    assert len(re.findall(r"'sha256-[^']+'", rules["script-src"])) == 2
    assert "unsafe" not in rules["script-src"]
    outside = html.partition("<script>")[0]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', outside)


def test_the_first_batch_shows_its_loss_mask(run: Path) -> None:
    assert "<mark>Apples, pears and plums; and red.&lt;|im_end|&gt;</mark>" in _text(run)
    assert "Name three fruits &amp; a &lt;b&gt;colour&lt;/b&gt;." in _text(run)


def test_a_value_stands_beside_its_unit_status_and_source(run: Path) -> None:
    page = re.sub(r"<[^>]+>", " ", _text(run))
    words = " ".join(page.split())
    assert "lr 2e-05 peak rate paper 2502.02737, table 4" in words
    assert "schedule.cosine.warmup 0.03 not reported 2502.02737; ours" in words
    assert "algorithm.grpo.clip_low 0.2 ratio paper 1707.06347" in words


def test_an_edited_number_in_the_page_is_found(own_run: Path) -> None:
    page = own_run / "report.html"
    html = page.read_text(encoding="utf-8")
    shown = re.search(r'data-id="score/scores/chain_sum/grpo" data-value="([^"]*)">([^<]*)<', html)
    assert shown is not None
    page.write_text(html.replace(shown.group(0), shown.group(0)[:-2] + "9<"), encoding="utf-8")
    assert any("score/scores/chain_sum/grpo reads" in line for line in check_report(own_run))
    other = shown.group(0).replace(shown.group(1), "0.99")
    page.write_text(html.replace(shown.group(0), other), encoding="utf-8")
    assert any("(0.99), files give" in line for line in check_report(own_run))


def test_an_edited_figure_or_text_in_the_page_is_found(own_run: Path) -> None:
    page = own_run / "report.html"
    html = page.read_text(encoding="utf-8")
    page.write_text(html.replace('"title":{"text":"step"}', '"title":{"text":"sTep"}', 1))
    assert any("the data of fig-sft-sft-nll-data" in line for line in check_report(own_run))
    page.write_text(html.replace("did not improve over", "is better than", 1), encoding="utf-8")
    assert check_report(own_run) == ["report.html: text on the page is not what files give"]


@pytest.mark.parametrize("name", ["scores.jsonl", "quality.jsonl"])
def test_an_edited_artifact_is_found(own_run: Path, name: str) -> None:
    path = next(own_run.glob(f"stages/*/artifacts/{name}"))
    rows = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(rows[1:]), encoding="utf-8")
    wrong = check_report(own_run)
    assert any("SHA-256 is" in line and name in line for line in wrong)
    assert any(line.startswith("report.html: ") for line in wrong)


def test_an_edited_metrics_file_is_found_even_where_no_shown_number_changes(own_run: Path) -> None:
    path = next(own_run.glob("stages/*-sft/metrics.jsonl"))
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    wrong = check_report(own_run)
    assert any("file:stages/05-sft/metrics.jsonl" in line for line in wrong)


def test_missing_files_are_found(own_run: Path) -> None:
    next(own_run.glob("stages/*-grpo/artifacts/model/model.safetensors")).unlink()
    next(own_run.glob("stages/*-dpo/tallies.json")).unlink()
    wrong = check_report(own_run)
    assert any("13-grpo/artifacts/model: SHA-256" in line for line in wrong)
    assert any("11-dpo/tallies.json" in line and "no longer" in line for line in wrong)
    (own_run / "report.html").unlink()
    assert "write the report first" in check_report(own_run)[0]


def test_an_unfinished_run_gets_a_report_that_names_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", until="dpo", num_problems=8)
    write_report(run)
    text = re.sub(r"<[^>]+>", "", _text(run))
    assert "This run is not complete. Missing: ppo (unfinished), grpo (not run)" in text
    assert "not complete" in text
    assert check_report(run) == []


def test_damaged_files_are_listed_rather_than_fatal(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_problems=8)
    next(run.glob("stages/*-dpo/tallies.json")).write_text("{oops", encoding="utf-8")
    metrics = next(run.glob("stages/*-dpo/metrics.jsonl"))
    metrics.write_text('{"step": 0, "dpo/margin": 1.0}\n[1]\n{"st', encoding="utf-8")
    write_report(run)
    text = _text(run)
    assert "stages/11-dpo/metrics.jsonl:3: not valid JSON, left out" in text
    assert "stages/11-dpo/metrics.jsonl: 1 rows are not JSON objects" in text
    assert "stages/11-dpo/tallies.json: not a JSON object" in text


def test_strange_characters_and_an_unfinished_control_stage_do_not_stop_a_report(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", until="sft", num_problems=4)
    path = next(run.glob("stages/*-sft/samples.jsonl"))
    path.write_text(json.dumps({"prompt": "a\r\nb\x00", "completion": "\ud800 \u2028 \x1b[1m"}))
    config = next(run.glob("stages/*-draws/config.json"))
    config.write_text(config.read_text().replace('"sample"', '"control"'), encoding="utf-8")
    write_report(run)
    assert check_report(run) == []


def test_a_directory_without_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no recipe\.yaml and no stages"):
        write_report(tmp_path)


def test_a_run_of_any_recipe_gets_a_page(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "recipe.yaml").write_text("name: <b>x</b>\nstages:\n  a: {stage: odd, k: [1]}\n")
    write_report(tmp_path)
    text = _text(tmp_path)
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "a (not run)" in text
    assert check_report(tmp_path) == []


def test_the_graph_has_every_stage_and_every_edge(run: Path) -> None:
    text = _text(run)
    assert set(re.findall(r'data-name="([^"]+)"', text)) == set(STAGES)
    edges = set(re.findall(r'data-from="([^"]+)" data-to="([^"]+)"', text))
    wanted = {(ref.partition(".")[0], n) for n, (_, reads, _) in STAGES.items() for ref in reads}
    assert edges == wanted


def test_reports_of_many_points_stay_small(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", until="sft", num_problems=4)
    path = next(run.glob("stages/*-sft/metrics.jsonl"))
    rows = (json.dumps({"step": i, "sft/nll": 2 + (i % 7) / 9}) + "\n" for i in range(30_000))
    path.write_text("".join(rows), encoding="utf-8")
    html = build_report(run).html
    assert "Each point is the mean of 30 steps." in html
    assert len(html.partition("<script>")[0]) < 250_000


def _broken(run: Path, change: Callable[[dict[str, object]], None]) -> list[str]:
    path = run / "report.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    change(said)
    path.write_text(json.dumps(said), encoding="utf-8")
    return check_report(run)


def test_the_registry_file_is_checked_too(own_run: Path) -> None:
    assert _broken(own_run, lambda said: said.pop("seed")) == ["report.json: seed is missing"]


def test_parts_of_a_reward_are_curves_that_are_shown_open(run: Path) -> None:
    stage = _text(run).partition('id="stage-grpo"')[2].partition("</section>")[0]
    shown, _, folded = stage.partition("<details")
    assert "rl/reward/shape.line" in shown and "rl/failed" in shown
    assert "Mean score of this part of the reward, unweighted." in shown
    assert "rl/zero_groups" in folded and "rl/zero_groups" not in shown
