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


def completions(path: Path) -> Path:
    rows = [
        Sampled(
            problem=Problem(prompt=Conversation.of(f"q{p}"), task="t", answer="7"),
            index=i,
            text=f"Answer: {7 if i < p else 100 + i}",
            prompt_ids=(1,),
            tokens=(2, 3),
            logprob=-1.0,
            finish=Finish.STOP,
        )
        for p in range(4)
        for i in range(3)
    ]
    write_completions(path / "c.jsonl", rows)
    return path / "c.jsonl"


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
