"""Judges in a run: calibrated first, then trusted or not, and never with a key on disk."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from burnish.algos.grpo import GRPO
from burnish.config import build
from burnish.data.store import (
    Sampled,
    read_comparisons,
    write_comparisons,
    write_completions,
    write_pairs,
    write_problems,
)
from burnish.engine.optim import Optim
from burnish.errors import ConfigError, DataError, Interrupted
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.annotate import Annotate, JudgeAnnotator
from burnish.stages.calibrate_judge import CalibrateJudge
from burnish.stages.judging import check_trust, open_judge
from burnish.stages.rl import RL
from burnish.stages.sample import Draws
from burnish.types import Comparison, Conversation, Finish, PreferencePair, Problem
from burnish.verifiers.combine import Part, WeightedSum
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge import Pairwise, Pointwise
from burnish.verifiers.judge_reward import JudgeReward, LocalModel, Trust
from tests.fake_server import FakeServer, Reply, said, serving
from tests.scripted import Scripted
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.unit.cli.tiny_model import write_model
from tests.unit.verifiers.test_judge import first_of

DATA, CALIBRATION = Ref("a", "data"), Ref("a", "calibration")
KEY = "sk-very-secret-123"
PROMPTS = [Conversation.of(f"Name colour {i}.") for i in range(40)]


def honest(body: dict[str, Any], _number: int) -> Reply:
    """Prefers what says good, in either place."""
    text = body["messages"][0]["content"]
    if "[begin answer]" in text:
        return said("Score: 9" if "| good" in text else "Score: 2")
    return said("Verdict: A" if first_of(text).startswith("good") else "Verdict: B")


def always_first(_body: dict[str, Any], _number: int) -> Reply:
    return said("Verdict: A")


def by(server: FakeServer, **settings: Any) -> Endpoint:
    return Endpoint(base_url=server.url, model="m", key_env="MY_KEY", max_attempts=1, **settings)


def run(stage: Any, tmp_path: Path, *, name: str = "test", **inputs: Path) -> Context:
    ctx = Context.for_test(
        tmp_path,
        outputs=stage.outputs,
        inputs={f"a.{key}": path for key, path in inputs.items()},
        name=name,
        cache=tmp_path / "cache",
        secret={"MY_KEY": KEY}.get,
    )
    stage.run(ctx)
    ctx.finish()
    return ctx


def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.jsonl"
    write_pairs(path, [PreferencePair(prompt=p, chosen="good", rejected="bad") for p in PROMPTS])
    return path


def completions(tmp_path: Path) -> Path:
    path = tmp_path / "completions.jsonl"
    write_completions(
        path,
        [
            Sampled(
                problem=Problem(prompt=p, task="none"),
                index=i,
                text=text,
                prompt_ids=(),
                tokens=(),
                logprob=0.0,
                finish=Finish.STOP,
            )
            for p in PROMPTS[:10]
            for i, text in enumerate(["good!", "bad!"])
        ],
    )
    return path


def calibrated(server: FakeServer, tmp_path: Path, **settings: Any) -> Path:
    stage = CalibrateJudge(by=by(server), labels=DATA, **settings)
    ctx = run(stage, tmp_path, name="calibrate", data=labels(tmp_path))
    return ctx.output("calibration")


def annotate(server: FakeServer, tmp_path: Path, calibration: Path, **settings: Any) -> Context:
    annotator = JudgeAnnotator(by=by(server), calibration=CALIBRATION, **settings)
    return run(
        Annotate(completions=DATA, annotator=annotator),
        tmp_path,
        name="annotate",
        data=completions(tmp_path),
        calibration=calibration,
    )


def test_a_calibrated_judge_labels_comparisons_in_a_random_recorded_order(tmp_path: Path) -> None:
    with serving(honest) as server:
        path = calibrated(server, tmp_path)
        asked = len(server.bodies)
        ctx = annotate(server, tmp_path, path)
    found = read_comparisons(ctx.output("comparisons"))
    assert asked == 80 and len(server.bodies) == asked + 20
    assert len(found) == 10 and all((c.a if c.winner == "a" else c.b) == "good!" for c in found)
    assert {c.winner for c in found} == {"a", "b"}  # which one is a, and shown first, is drawn
    assert all(c.shown_order == "ab" for c in found)
    assert found[0].annotator.startswith("judge(pairwise, m at http://127.0.0.1")
    assert "share of comparisons against the gold order" not in ctx.tallies.values
    assert ctx.tallies.values["prompt tokens of answers"] == 200
    calibration = json.loads(path.read_text())
    assert calibration["figures"]["agreement"]["estimate"] == 1.0
    assert len(calibration["pairs"]) == 40


def test_the_key_is_sent_and_written_nowhere(tmp_path: Path) -> None:
    with serving(honest) as server:
        annotate(server, tmp_path, calibrated(server, tmp_path))
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 6
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_what_was_asked_before_is_taken_from_the_cache(tmp_path: Path) -> None:
    with serving(honest) as server:
        calibrated(server, tmp_path)
        asked = len(server.bodies)
        ctx = run(
            CalibrateJudge(by=by(server), labels=DATA),
            tmp_path,
            name="calibrate",
            data=labels(tmp_path),
        )
    assert len(server.bodies) == asked
    assert ctx.tallies.values["answers from the cache"] == asked
    assert ctx.tallies.values["questions asked"] == 0


def test_cost_is_shown_with_the_prices_that_were_given(tmp_path: Path) -> None:
    from burnish.verifiers.chat import Prices

    with serving(honest) as server:
        priced = by(server, prices=Prices(prompt=1000.0, completion=10000.0))
        stage = CalibrateJudge(by=priced, labels=DATA)
        ctx = run(stage, tmp_path, data=labels(tmp_path))
    # 80 answers of 10 and 3 tokens.
    assert ctx.tallies.values["cost of answers"] == pytest.approx(0.8 + 2.4)


def test_a_judge_that_goes_by_position_is_refused(tmp_path: Path) -> None:
    with serving(always_first) as server:
        path = calibrated(server, tmp_path)
        with pytest.raises(ConfigError, match=r"may not train anything: its agreement .* 0\.500"):
            annotate(server, tmp_path, path)
        trust = Trust(min_agreement=0.0)
        with pytest.raises(ConfigError, match=r"same in both orders for 0\.000"):
            annotate(server, tmp_path, path, trust=trust)


def test_a_judge_that_is_hard_to_read_is_refused(tmp_path: Path) -> None:
    def often_silent(body: dict[str, Any], number: int) -> Reply:
        return said("Hm.") if "colour 1" in body["messages"][0]["content"] else honest(body, 0)

    with serving(often_silent) as server:
        path = calibrated(server, tmp_path)
        with pytest.raises(ConfigError, match=r"0\.275 of its pairs .* max_unread=0\.2"):
            annotate(server, tmp_path, path)
        ctx = annotate(server, tmp_path, path, trust=Trust(max_unread=0.5))
    assert ctx.tallies.counts["pairs without a readable verdict left out"] == {"n": 1, "of": 10}


@pytest.mark.parametrize(
    "judge", [Pairwise(rubric="brevity"), Pairwise(max_tokens=64), Pointwise()], ids=str
)
def test_a_calibration_of_another_judge_does_not_count(judge: Any, tmp_path: Path) -> None:
    with serving(honest) as server:
        path = calibrated(server, tmp_path)
        with pytest.raises(ConfigError, match="calibrates another judge"):
            annotate(server, tmp_path, path, judge=judge)


def test_no_calibration_is_refused_with_the_command_to_run() -> None:
    who = Endpoint(base_url="https://h/v1", model="m", key_env="K")
    command = "burnish calibrate-judge LABELS.jsonl --endpoint https://h/v1 --model m --key-env K"
    for kind in (JudgeAnnotator, JudgeReward):
        with pytest.raises(ConfigError) as caught:
            kind(by=who)
        assert command in str(caught.value) and "calibration is missing" in str(caught.value)
    with pytest.raises(ConfigError, match="--local MODEL"):
        JudgeAnnotator(by=LocalModel(model=DATA))
    with pytest.raises(ConfigError, match="one"):
        JudgeAnnotator(by=who, calibration=CALIBRATION, calibration_file="x")


def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    identity = Pairwise().by(Scripted(str)).identity
    with pytest.raises(ConfigError, match="no such calibration"):
        check_trust(tmp_path / "none.json", identity, Trust())
    for text in ("[]", "{", '{"judge": {}}', '{"judge": 1, "figures": {}}'):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(DataError):
            check_trust(tmp_path / "c.json", identity, Trust())
    (tmp_path / "c.json").write_text(json.dumps({"judge": identity.to_json(), "figures": {}}))
    with pytest.raises(ConfigError, match="nan"):
        check_trust(tmp_path / "c.json", identity, Trust())


def test_a_calibration_file_is_part_of_what_an_annotation_depends_on(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text("one")
    who = Endpoint(base_url="https://h/v1", model="m")
    stage = Annotate(completions=DATA, annotator=JudgeAnnotator(by=who, calibration_file=str(file)))
    before = stage.fingerprint()
    file.write_text("two")
    assert stage.fingerprint() != before
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        stage.fingerprint()
    assert Annotate(completions=DATA).fingerprint() == ""


def test_labels_may_be_comparisons_and_the_place_of_the_better_one_is_drawn(
    tmp_path: Path,
) -> None:
    path = tmp_path / "labels.jsonl"
    rows = [Comparison(prompt=p, a="bad", b="good", winner="b", annotator="me") for p in PROMPTS]
    rows.append(Comparison(prompt=PROMPTS[0], a="x", b=" x", winner="tie", annotator="me"))
    write_comparisons(path, rows)
    with serving(honest) as server:
        ctx = run(CalibrateJudge(by=by(server), labels=DATA, num_pairs=30), tmp_path, data=path)
    pairs = json.loads(ctx.output("calibration").read_text())["pairs"]
    assert len(pairs) == 30
    assert 5 < sum(p["label"] == "a" for p in pairs) < 25
    assert all(p["a_first"] == p["label"] for p in pairs)


def test_a_pointwise_judge_is_calibrated_by_its_higher_scores_and_gives_rewards(
    tmp_path: Path,
) -> None:
    with serving(honest) as server, ExitStack() as stack:
        path = calibrated(server, tmp_path, judge=Pointwise())
        reward = JudgeReward(by=by(server), calibration=CALIBRATION)
        ctx = Context.for_test(
            tmp_path, outputs={}, inputs={"a.calibration": path}, secret={"MY_KEY": KEY}.get
        )
        scorer = open_judge(ctx, reward, stack)
        problem = Problem(prompt=PROMPTS[0], task="none")
        texts = ["good!", "bad!", "good!"]
        verdicts = scorer.score([problem] * 3, texts, [()] * 3, [()] * 3)
    assert [v.score for v in verdicts] == [8 / 9, 1 / 9, 8 / 9]
    assert scorer.usage.asked == 2 and scorer.usage.prompt_tokens == 20
    figures = json.loads(path.read_text())["figures"]
    assert figures["swap_consistency"]["estimate"] == 1.0
    assert figures["agreement"]["estimate"] == 1.0


def test_a_stage_that_is_asked_to_stop_keeps_its_answers(tmp_path: Path) -> None:
    with serving(honest) as server:
        stage = CalibrateJudge(by=by(server, concurrency=1), labels=DATA)
        ctx = Context.for_test(
            tmp_path,
            outputs=stage.outputs,
            inputs={"a.data": labels(tmp_path)},
            secret={"MY_KEY": KEY}.get,
            stopping=lambda: len(server.bodies) > 10,
        )
        with pytest.raises(Interrupted):
            stage.run(ctx)
        kept = len(server.bodies)
        done = run(stage, tmp_path, data=labels(tmp_path))
    assert 10 < kept < 80
    assert done.tallies.values["answers from the cache"] >= 10


def test_a_model_of_the_run_may_judge(tmp_path: Path) -> None:
    who = LocalModel(model=Ref("a", "model"), precision="float32")
    stage = CalibrateJudge(by=who, judge=Pairwise(max_tokens=8), labels=DATA, num_pairs=3)
    path = tmp_path / "short.jsonl"
    rows = [PreferencePair(prompt=p, chosen="good", rejected="bad") for p in PROMPTS[:3]]
    write_pairs(path, rows)
    model = write_model(tmp_path / "model", context=2048)
    ctx = run(stage, tmp_path, data=path, model=model)
    found = json.loads(ctx.output("calibration").read_text())
    assert found["judge"]["model"].startswith("local ") and "float32" in found["judge"]["model"]
    assert found["figures"]["unread"]["estimate"] == 1.0  # a random model says nothing of use
    assert "cost of answers" not in ctx.tallies.values
    assert ctx.tallies.spent["sampled_tokens"] <= 6 * 8 and ctx.tallies.spent["scored_tokens"] > 0


def test_the_annotator_is_chosen_by_name_in_a_recipe() -> None:
    endpoint = {"endpoint": {"base_url": "https://h/v1", "model": "m"}}
    judge = {"judge_annotator": {"by": endpoint, "calibration": "a.calibration"}}
    stage = build(Annotate, {"completions": "a.data", "annotator": judge})
    assert stage.annotator == JudgeAnnotator(
        by=Endpoint(base_url="https://h/v1", model="m"), calibration=CALIBRATION
    )


def test_rl_is_rewarded_by_a_calibrated_judge_as_part_of_a_sum(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    write_problems(tmp_path / "problems.jsonl", [Problem(prompt=p, task="none") for p in PROMPTS])

    def graded(body: dict[str, Any], number: int) -> Reply:
        text = body["messages"][0]["content"]
        known = "| good" in text or "| bad" in text
        return honest(body, number) if known else said(f"Score: {1 + len(text) % 10}")

    with serving(graded) as server:
        path = calibrated(server, tmp_path, judge=Pointwise())
        before = len(server.bodies)
        judged = JudgeReward(by=by(server), calibration=CALIBRATION)
        stage = RL(
            model=Ref("a", "model"),
            problems=Ref("a", "problems"),
            algorithm=GRPO(),
            optim=Optim(lr=1e-3),
            steps=1,
            problems_per_step=2,
            group_size=4,
            draws=Draws(max_new_tokens=6),
            precision="float32",
            reward=WeightedSum(parts={"judge": Part(weight=2.0, reward=judged)}),
        )
        ctx = run(
            stage,
            tmp_path,
            name="rl",
            model=tmp_path / "model",
            problems=tmp_path / "problems.jsonl",
            calibration=path,
        )
        asked = len(server.bodies) - before
    (row,) = read_metrics(ctx.dir / "metrics.jsonl")
    assert row["rl/score"] == pytest.approx(2 * row["rl/reward/judge"])
    assert 0 < row["rl/reward/judge"] < 1 and 1 <= asked <= 8
    assert ctx.tallies.values["questions asked"] == asked
