"""The studies, end to end on a tiny random model: what they record, and what their reports say."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from bench import studies
from burnish import cli
from burnish.cli.recipes import load_recipe
from burnish.data.store import read_rows
from burnish.engine.text_model import TextModel
from burnish.evals.stats import best_of_n_kl
from burnish.evals.symptoms import SYMPTOMS
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.run import Run
from burnish.pipeline.stage import forwards
from burnish.stages.path_records import TrainingPath, parameters, read_paths
from burnish.stages.report import build_report, write_report
from burnish.stages.report_check import check_report
from burnish.stages.report_files import read_run
from burnish.stages.report_scores import read_scores
from burnish.stages.rl_watch import read_looks
from tests.unit.cli.tiny_model import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def spent(run: Run, name: str) -> float:
    found = run.stage(name).tallies()["spent"]
    names = ("sampled_tokens", "trained_tokens", "scored_tokens")
    return forwards(*(found.get(key, 0.0) for key in names))


LANDSCAPE = [
    "paths.seeds=2",
    "sft.passes.max_steps=1",
    "samples.num_problems=64",
    "samples.draws.max_new_tokens=24",
    "reward.passes.max_steps=1",
    "paths.draws.num_problems=4",
    "paths.draws.num_samples=2",
    "paths.draws.draws.max_new_tokens=6",
    "paths.rs.passes.max_forwards=1500",
    *(f"paths.{name}.max_forwards=2500" for name in ("ppo", "rloo", "grpo")),
    *(f"paths.{name}.problems_per_step=2" for name in ("ppo", "rloo", "grpo")),
    *(f"paths.{name}.draws.max_new_tokens=6" for name in ("ppo", "rloo", "grpo")),
    "paths.dpo.passes.max_forwards=6000",
    "paths.dpo.passes.batch_rows=2",
    "landscape.num_problems=4",
    "landscape.draws.max_new_tokens=6",
]


@pytest.fixture(scope="module")
def landscape(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    own = [f"base.name={model}", *LANDSCAPE]
    path = tmp_path_factory.mktemp("landscape")
    run = execute(load_recipe("landscape", own), path / "run", cache=path)
    write_report(path / "run")
    return run


def test_paths_stop_with_the_step_that_reaches_their_share_of_the_compute(landscape: Run) -> None:
    for name in ("ppo", "rloo", "grpo"):
        rows = (landscape.stage(f"paths_s1_{name}").dir / "metrics.jsonl").read_text().splitlines()
        whole = spent(landscape, f"paths_s1_{name}")
        assert 1 < len(rows) < 60 and 2500 <= whole < 2500 * (1 + 1.5 / (len(rows) - 1))
    assert 6000 <= spent(landscape, "paths_s2_dpo") < 9000


def test_each_path_records_what_it_loaded_and_drew(landscape: Run) -> None:
    def held(name: str) -> float:
        return float(landscape.stage(name).tallies()["values"]["models held at once"])

    # Policy, reference and reward model; DPO's reference is the policy before its first step.
    assert [held(f"paths_s1_{n}") for n in ("ppo", "rs", "best", "dpo")] == [3, 1, 1, 1]
    assert "sampled_tokens" not in landscape.stage("paths_s1_dpo").tallies()["spent"]
    assert "reward.reward_model" not in landscape.stage("paths_s1_dpo").inputs


def test_seeds_draw_differently_from_the_same_start(landscape: Run) -> None:
    drawn = [
        (landscape.stage(f"paths_s{n}_draws").dir / "artifacts/completions.jsonl").read_text()
        for n in (1, 2)
    ]
    assert drawn[0] != drawn[1]


def paths_of(run: Run) -> dict[str, TrainingPath]:
    files = read_run(run.dir)
    return {path.name: path for path in read_paths(files, read_scores(files))}


def test_a_path_is_charged_for_all_between_the_start_and_its_model(landscape: Run) -> None:
    paths = paths_of(landscape)
    assert list(paths) == ["rs", "ppo", "rloo", "grpo", "dpo"]
    labels = spent(landscape, "samples")
    rewarded = labels + spent(landscape, "reward")
    own = {
        "rs": ["paths_s2_draws", "paths_s2_best", "paths_s2_rs"],
        "grpo": ["paths_s2_grpo"],
        "dpo": ["paths_s2_dpo"],
    }
    for name, stages in own.items():
        shared = labels if name == "dpo" else rewarded
        wanted = shared + sum(spent(landscape, stage) for stage in stages)
        assert paths[name].taken[1].forwards == pytest.approx(wanted)
    assert [len(paths[name].taken[0].stages) for name in ("rs", "grpo", "dpo")] == [6, 4, 3]


def test_a_paths_table_is_what_its_stages_recorded(landscape: Run) -> None:
    paths = paths_of(landscape)
    first = {name: path.taken[0] for name, path in paths.items()}
    assert {n for n, t in first.items() if t.reads_reward_model} == {"rs", "ppo", "rloo", "grpo"}
    assert {n for n, t in first.items() if t.sampled_in_training} == {"ppo", "rloo", "grpo"}
    assert [first[n].models_held for n in ("rs", "ppo", "dpo")] == [1, 3, 1]
    assert first["ppo"].settings > first["dpo"].settings > 0
    weights = load_file(landscape.artifact(Ref("sft", "model")) / "model.safetensors")
    whole = sum(weight.numel() for weight in weights.values())
    assert parameters(read_run(landscape.dir), "sft") == whole


def test_a_paths_gain_is_paired_by_problem_over_all_seeds(landscape: Run) -> None:
    rows = read_rows(landscape.artifact(Ref("landscape", "scores")))
    of = {(r["model"], r["problem"]): float(str(r["score"])) for r in rows}
    gains = [of[m, p] - of["sft", p] for m, p in of if m in ("dpo_s1", "dpo_s2")]
    assert len(gains) == 2 * 4
    found = paths_of(landscape)["dpo"].gain
    assert found.estimate == pytest.approx(sum(gains) / 8) and found.n == 8


def test_the_landscapes_report_passes_its_check_and_speaks_of_paths(landscape: Run) -> None:
    assert check_report(landscape.dir) == []
    findings = [f.text.striptags() for f in build_report(landscape.dir).findings]
    assert findings[0].startswith("Of 5 paths from sft the dearest took ")
    assert findings[5].startswith("dpo ") and findings[5].endswith("forward passes (2 seeds).")
    text = (landscape.dir / "report.html").read_text()
    summary = text.partition("What happened")[2].partition("</ul>")[0]
    assert "<b>dpo_s1</b>" not in summary and "<b>dpo</b>" in summary


def test_a_landscape_is_drawn_from_its_run(
    landscape: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "study-landscape.svg"
    monkeypatch.setattr(sys, "argv", ["bench.studies", str(landscape.dir), str(picture)])
    studies.main()
    text = picture.read_text()
    assert [name for name in paths_of(landscape) if name not in text.lower()] == []


PURSUIT = [
    "sft.passes.max_steps=1",
    "samples.num_problems=96",
    "samples.draws.max_new_tokens=24",
    "few_labels.num_problems=72",
    "few.passes.max_steps=1",
    "many.passes.max_steps=1",
    "small.passes.max_steps=1",
    "small.num_layers=1",
    *(f"{name}.steps=4" for name in ("rl_few", "rl_few_priced", "rl_many")),
    *(f"{name}.num_snapshots=3" for name in ("rl_few", "rl_few_priced", "rl_many")),
    *(f"{name}.draws.max_new_tokens=6" for name in ("rl_few", "rl_few_priced", "rl_many")),
    *(f"{name}.watch.every=2" for name in ("rl_few", "rl_few_priced", "rl_many")),
    *(f"{name}.watch.num=3" for name in ("rl_few", "rl_few_priced", "rl_many")),
    "over_optimisation.num_problems=4",
    "over_optimisation.num_samples=8",
    "over_optimisation.draws.max_new_tokens=6",
]


@pytest.fixture(scope="module")
def pursued(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    own = [f"base.name={model}", *PURSUIT]
    path = tmp_path_factory.mktemp("pursued")
    run = execute(load_recipe("over_optimisation", own), path / "run", cache=path)
    write_report(path / "run")
    return run


def curves(run: Run) -> list[dict[str, Any]]:
    rows = json.loads(run.artifact(Ref("over_optimisation", "curves")).read_text())
    return [dict(row) for row in rows]


def test_every_proxy_is_pursued_by_best_of_n_from_one_pool(pursued: Run) -> None:
    rows = [row for row in curves(pursued) if row["series"] == "best_of_n"]
    assert {row["judge"] for row in rows} == {"few", "many", "small"}
    assert {row["x"] for row in rows} == {1, 2, 4, 8} and len(rows) == 3 * 4 * 4
    assert all(row["kl"] == pytest.approx(best_of_n_kl(row["x"])) for row in rows)
    ones = {(row["prompt"], row["gold"], row["words"]) for row in rows if row["x"] == 1}
    assert len({prompt for prompt, _, _ in ones}) == len(ones) == 4  # whatever the proxy
    for judge in ("few", "many", "small"):
        for prompt in {row["prompt"] for row in rows}:
            mine = [r["proxy"] for r in rows if (r["judge"], r["prompt"]) == (judge, prompt)]
            assert mine == sorted(mine)


def test_every_run_is_measured_at_its_snapshots_and_its_end(pursued: Run) -> None:
    rows = [row for row in curves(pursued) if row["series"] != "best_of_n"]
    assert {(row["series"], row["judge"]) for row in rows} == {
        ("RL_few", "few"),
        ("RL_few_priced", "few"),
        ("RL_many", "many"),
    }
    assert {row["x"] for row in rows} == {1, 2, 3, 4} and len(rows) == 3 * 4 * 4
    assert all(set(SYMPTOMS) <= row.keys() for row in rows)


def test_the_best_model_is_that_with_the_highest_gold_and_can_be_opened(pursued: Run) -> None:
    groups: dict[tuple[str, int], list[float]] = {}
    for row in curves(pursued):
        if row["series"] != "best_of_n":
            groups.setdefault((row["series"], row["x"]), []).append(row["gold"])
    start = [r["gold"] for r in curves(pursued) if r["x"] == 1 and r["judge"] == "few"
             and r["series"] == "best_of_n"]  # fmt: skip
    means = {key: sum(gold) / len(gold) for key, gold in groups.items()}
    best = pursued.artifact(Ref("over_optimisation", "best"))
    note = pursued.stage("over_optimisation").tallies()["notes"]["best"]
    assert f"{max([*means.values(), sum(start) / 4]):.3f}" in note
    origin = pursued.dir / note.rpartition(" has ")[2]
    assert (best / "model.safetensors").read_bytes() == (origin / "model.safetensors").read_bytes()
    TextModel.open(best, "float32")


def test_a_smaller_reward_model_has_fewer_layers(pursued: Run) -> None:
    small = json.loads((pursued.artifact(Ref("small", "reward_model")) / "config.json").read_text())
    many = json.loads((pursued.artifact(Ref("many", "reward_model")) / "config.json").read_text())
    assert (small["num_hidden_layers"], many["num_hidden_layers"]) == (1, 2)


def test_a_watched_run_is_looked_at_before_on_the_way_and_after(pursued: Run) -> None:
    looks = list(read_looks(pursued.stage("rl_few").dir / "watch.jsonl"))
    assert [look.step for look in looks] == [0, 2, 4]
    assert all(len(look.gold) == len(look.proxy) == 3 for look in looks)
    # The same start and the same random numbers, under another proxy.
    other = next(read_looks(pursued.stage("rl_many").dir / "watch.jsonl"))
    assert other.proxy != looks[0].proxy


def test_the_pursuits_report_passes_its_check_and_states_findings(pursued: Run) -> None:
    assert check_report(pursued.dir) == []
    findings = [f.text.striptags() for f in build_report(pursued.dir).findings]
    assert any(f.startswith("Optimising with best of n, proxy small") for f in findings)
    assert any(f.startswith("rl_few: ") for f in findings)


def test_the_best_model_of_a_pursuit_can_be_talked_to(
    pursued: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chat", f"{pursued.dir}:over_optimisation", "--max-new-tokens", "4"]
    monkeypatch.setattr(sys, "argv", ["burnish", *words, "--prompt", "Hello"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0 and capsys.readouterr().out
