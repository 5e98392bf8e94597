"""Pairs of a stronger and a weaker model's completions."""

from pathlib import Path

import pytest

from burnish.data.store import Sampled, read_comparisons, write_completions
from burnish.errors import DataError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.contrast import Contrast
from burnish.types import Comparison, Conversation, Finish, Problem
from tests.unit.stages.made_stage import run

PROBLEMS = [Problem(prompt=Conversation.of(f"q{i}"), task="exact", answer="7") for i in range(4)]


def completion(problem: Problem, index: int, text: str) -> Sampled:
    return Sampled(
        problem=problem,
        index=index,
        text=text,
        prompt_ids=(1,),
        tokens=(2,),
        logprob=-1.0,
        finish=Finish.STOP,
    )


def contrast(
    tmp_path: Path, better: list[Sampled], worse: list[Sampled], **more: int
) -> tuple[Context, list[Comparison]]:
    tmp_path.mkdir(exist_ok=True)
    write_completions(tmp_path / "better.jsonl", better)
    write_completions(tmp_path / "worse.jsonl", worse)
    stage = Contrast(better=Ref("a", "better"), worse=Ref("a", "worse"), **more)
    ctx = run(stage, tmp_path, better=tmp_path / "better.jsonl", worse=tmp_path / "worse.jsonl")
    return ctx, read_comparisons(ctx.output("comparisons"))


def test_the_stronger_model_wins_each_pair_of_one_problem(tmp_path: Path) -> None:
    better = [
        completion(PROBLEMS[0], 0, "Answer: 7"),
        completion(PROBLEMS[0], 1, "Answer: 5"),
        completion(PROBLEMS[1], 0, "Answer: 8"),
        completion(PROBLEMS[2], 0, "Answer: 1"),
        completion(PROBLEMS[3], 0, " "),
    ]
    worse = [
        completion(PROBLEMS[1], 0, "Answer: 7"),
        completion(PROBLEMS[0], 0, "Answer: 6"),
        completion(PROBLEMS[0], 1, "Answer: 4"),
        completion(PROBLEMS[3], 0, "Answer: 2"),
    ]
    ctx, rows = contrast(tmp_path, better, worse, pairs_per_problem=2)
    assert [(r.a, r.b) for r in rows] == [
        ("Answer: 7", "Answer: 6"),
        ("Answer: 5", "Answer: 4"),
        ("Answer: 8", "Answer: 7"),
    ]
    assert {r.winner for r in rows} == {"a"}
    counts = ctx.tallies.counts
    assert counts["problems with completions of one model only left out"] == {"n": 1, "of": 4}
    (passed,) = (v for k, v in counts.items() if k.startswith("pairs of equal completions"))
    assert passed == {"n": 1, "of": 4}
    # right, both wrong (.5), the weaker one right
    (share,) = (v for k, v in ctx.tallies.values.items() if k.startswith("share of pairs"))
    assert share == pytest.approx((1 + 0.5 + 0) / 3)
    _, first = contrast(tmp_path / "one", better, worse)
    assert [r.a for r in first] == ["Answer: 7", "Answer: 8"]


def test_models_without_a_problem_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no problem with different completions in common"):
        contrast(tmp_path, [completion(PROBLEMS[0], 0, "a")], [completion(PROBLEMS[1], 0, "b")])
