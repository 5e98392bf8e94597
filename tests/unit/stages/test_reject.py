"""Which completions each rule keeps, and that the control is matched."""

import math
from pathlib import Path

import pytest

from burnish.data.store import Sampled, read_conversations, write_completions
from burnish.errors import ConfigError, DataError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.reject import Reject, Threshold, TopOverall, TopPerPrompt
from burnish.types import Conversation, Finish, Problem

DATA = Ref("a", "data")
SCORES = [[0.1, 0.9, 0.9, -math.inf], [0.5, 0.8, 0.2, 0.7], [-1.0, -math.inf, -2.0, -3.0]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (TopPerPrompt(), [[1], [1], [0]]),
        (TopPerPrompt(n=2), [[1, 2], [1, 3], [0, 2]]),
        (TopPerPrompt(n=9), [[1, 2, 0], [1, 3, 0, 2], [0, 2, 3]]),
        (TopOverall(n=3), [[1, 2], [1], []]),
        (TopOverall(n=5), [[1, 2], [1, 3, 0], []]),
        (Threshold(score=0.7), [[1, 2], [1, 3], []]),
        (Threshold(score=5.0), [[], [], []]),
    ],
)
def test_what_each_rule_keeps(rule, expected):
    assert rule.kept(SCORES) == expected


def answers(path: Path, *texts: tuple[int, str]) -> Path:
    """Completions given as (problem, text); 7 is the answer to each."""
    rows = [
        Sampled(
            problem=Problem(prompt=Conversation.of(f"q{p}"), task="t", answer="7"),
            index=i,
            text=text,
            prompt_ids=(1,),
            tokens=(2, 3),
            logprob=-1.0,
            finish=Finish.STOP,
        )
        for i, (p, text) in enumerate(texts)
    ]
    write_completions(path, rows)
    return path


def completions(path: Path) -> Path:
    rows = [(p, f"Answer: {7 if i < p else 100 + i}") for p in range(4) for i in range(3)]
    return answers(path / "c.jsonl", *rows)


def run(stage: Reject, path: Path) -> Context:
    ctx = Context.for_test(path, outputs=stage.outputs, inputs={"a.data": completions(path)})
    stage.run(ctx)
    return ctx


def test_a_threshold_keeps_all_that_is_right_and_the_control_has_as_many_of_each_prompt(tmp_path):
    ctx = run(Reject(completions=DATA, keep=Threshold(score=1.0)), tmp_path)
    best, control = (read_conversations(ctx.output(name)) for name in ("best", "control"))
    assert [c.last_user for c in best] == ["q1", "q2", "q2", "q3", "q3", "q3"]
    assert {c.messages[-1].content for c in best} == {"Answer: 7"}
    assert [c.last_user for c in control] == [c.last_user for c in best]
    for prompt in ("q1", "q2", "q3"):  # drawn without replacement
        texts = [c.messages[-1].content for c in control if c.last_user == prompt]
        assert len(texts) <= 3
    assert ctx.tallies.counts["completions kept"] == {"n": 6, "of": 12}


def test_nothing_kept_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none of 12 completions is kept"):
        run(Reject(completions=DATA, keep=Threshold(score=2.0)), tmp_path)


@pytest.mark.parametrize("rule", [TopPerPrompt, TopOverall])
def test_keeping_less_than_one_is_refused(rule):
    with pytest.raises(ConfigError, match="n must be at least 1"):
        rule(n=0)


def test_completions_of_earlier_rounds_compete_and_each_text_counts_once(tmp_path):
    right, also_right, wrong = "Answer: 7", "so, Answer: 7", "Answer: 8"
    inputs = {
        "a.data": answers(tmp_path / "3", (0, wrong), (0, right), (0, right), (1, wrong)),
        "b.data": answers(
            tmp_path / "1", (0, right + " "), (1, right), (2, right), (1, also_right)
        ),
        "c.data": answers(tmp_path / "2", (1, right), (1, right), (0, also_right), (1, wrong)),
    }
    earlier = (Ref("b", "data"), Ref("c", "data"))
    stage = Reject(completions=DATA, keep=Threshold(score=1.0), earlier=earlier)
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=inputs)
    stage.run(ctx)
    best = [(c.last_user, c.messages[-1].content) for c in read_conversations(ctx.output("best"))]
    # Of problem 0 this round drew the right answer twice; the two of problem 1 come from before.
    expected = [("q0", right)] * 2 + [("q0", also_right), ("q1", right), ("q1", also_right)]
    assert best == [*expected, ("q2", right)]
    control = read_conversations(ctx.output("control"))
    assert [c.last_user for c in control] == [prompt for prompt, _ in best]
    assert ctx.tallies.counts == {
        "earlier completions whose text was there already": {"n": 4, "of": 8},
        "completions kept": {"n": 6, "of": 8},
    }


def test_without_earlier_rounds_nothing_is_counted_of_them(tmp_path):
    ctx = run(Reject(completions=DATA), tmp_path)
    assert list(ctx.tallies.counts) == ["completions kept"]


def test_among_equals_this_rounds_completion_is_kept_and_else_the_best_of_all_rounds(tmp_path):
    inputs = {
        "a.data": answers(tmp_path / "2", (0, "now Answer: 7"), (1, "Answer: 8")),
        "b.data": answers(tmp_path / "1", (0, "then Answer: 7"), (1, "then Answer: 7")),
    }
    stage = Reject(completions=DATA, earlier=(Ref("b", "data"),))
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=inputs)
    stage.run(ctx)
    best = [c.messages[-1].content for c in read_conversations(ctx.output("best"))]
    assert best == ["now Answer: 7", "then Answer: 7"]
