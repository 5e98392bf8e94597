"""Pairs by a reward model: who wins, by how much, and what becomes of the margin."""

from dataclasses import replace
from pathlib import Path

import pytest

from burnish.algos.rpo import RPO
from burnish.data.store import read_comparisons, write_comparisons, write_completions
from burnish.engine.optim import Optim
from burnish.engine.reward_model import open_reward_model
from burnish.engine.supervised import Passes
from burnish.errors import DataError
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Ref
from burnish.stages.annotate import Annotate, ModelAnnotator
from burnish.stages.prefer import Prefer
from burnish.types import Conversation, Problem
from tests.unit.stages.made_stage import answered, run, save_reward, save_tiny

PROBLEMS = [
    Problem(prompt=Conversation.of(f"Write about the {word}."), task="none")
    for word in ("sea", "cat", "dog", "mat")
]
TEXTS = ("The sea is wide.", "Hello there!", "cat cat cat", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    model = save_tiny(folder / "model")
    items = [answered(p, i, t, model) for p in PROBLEMS for i, t in enumerate(TEXTS)]
    write_completions(folder / "completions.jsonl", items)
    return {
        "model": model,
        "reward": save_reward(folder / "reward", model),
        "completions": folder / "completions.jsonl",
    }


def annotate(made: dict[str, Path], folder: Path) -> Path:
    stage = Annotate(
        completions=Ref("a", "completions"),
        pairs_per_problem=9,
        annotator=ModelAnnotator(model=Ref("a", "reward"), precision="float32"),
    )
    ctx = run(stage, folder, completions=made["completions"], reward=made["reward"])
    # of each problem's 6 pairs 3 have the empty completion
    assert ctx.tallies.counts["pairs without a readable verdict left out"] == {"n": 12, "of": 24}
    return ctx.output("comparisons")


def test_the_higher_score_wins_and_the_margin_is_the_difference(
    made: dict[str, Path], tmp_path: Path
) -> None:
    judge = open_reward_model(made["reward"], precision="float32", micro_tokens=512)
    score = {}
    for problem in PROBLEMS:
        for i, text in enumerate(TEXTS[:3]):
            item = answered(problem, i, text, made["model"])
            (found,) = judge.scores([item.prompt_ids], [item.tokens])
            score[problem.prompt.id, text] = found
    rows = read_comparisons(annotate(made, tmp_path))
    assert len(rows) == 12 and {row.winner for row in rows} == {"a", "b"}
    for row in rows:
        gap = score[row.prompt.id, row.a] - score[row.prompt.id, row.b]
        assert row.margin == pytest.approx(abs(gap), abs=1e-5) and row.margin > 0
        assert row.winner == ("a" if gap > 0 else "b")


def test_reward_aware_training_goes_to_the_margins_and_no_further(
    made: dict[str, Path], tmp_path: Path
) -> None:
    data = annotate(made, tmp_path / "labels")
    stage = Prefer(
        model=Ref("a", "model"),
        comparisons=Ref("a", "data"),
        algorithm=RPO(beta=1.0),
        passes=Passes(batch_rows=4, epochs=120),
        optim=Optim(lr=2e-3, schedule="linear"),
        precision="float32",
    )
    ctx = run(stage, tmp_path / "rpo", model=made["model"], data=data)
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    margins = [row.margin for row in read_comparisons(data) if row.margin is not None]
    wanted = sum(margins) / len(margins)
    assert rows[0]["dpo/margin"] == 0.0 < rows[0]["train/loss"]
    assert rows[-1]["dpo/margin"] == pytest.approx(wanted, rel=0.1)
    assert rows[-1]["train/loss"] < 0.02 * rows[0]["train/loss"]


def test_pairs_without_a_margin_are_refused_where_the_loss_reads_it(
    made: dict[str, Path], tmp_path: Path
) -> None:
    rows = read_comparisons(annotate(made, tmp_path / "labels"))
    bare = [*rows[:-1], replace(rows[-1], margin=None)]
    write_comparisons(tmp_path / "bare.jsonl", bare)
    stage = Prefer(
        model=Ref("a", "model"),
        comparisons=Ref("a", "data"),
        algorithm=RPO(),
        passes=Passes(batch_rows=4),
        optim=Optim(lr=1e-3),
        precision="float32",
    )
    with pytest.raises(DataError, match="rpo: 1 of 12 pairs have no `margin`"):
        run(stage, tmp_path, model=made["model"], data=tmp_path / "bare.jsonl")
