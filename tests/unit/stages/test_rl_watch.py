"""A watched policy: when it is looked at, what a resume keeps, and the alarm that is raised."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.algos.grpo import GRPO
from burnish.data.store import write_problems
from burnish.engine.protocols import Request, Sampling
from burnish.errors import ConfigError, DataError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.progress import Silent
from burnish.pipeline.stage import Context
from burnish.stages.rl_watch import Watch, Watcher, read_looks
from burnish.types import Completion, Conversation, Finish, Problem
from burnish.verifiers.combine import Part, WeightedSum
from burnish.verifiers.length import Length
from tests.unit.stages.test_rl_rewards import rl

HELD = Ref("held", "problems")
NUM = 24


class Heard(Silent):
    """A screen that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


class Policy:
    """At each look so many problems are answered rightly, and the proxy is what is asked for."""

    def __init__(self, right: Sequence[int], proxy: Sequence[float]) -> None:
        self.right, self.proxy = list(right), list(proxy)
        self.looks = 0
        self.keys: list[list[int]] = []
        self.model = SimpleNamespace(eval=lambda: None)

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        return (len(conversation.last_user),)

    def decode(self, tokens: Sequence[int]) -> str:
        return "Answer: 7" if tokens[0] else "Answer: 8"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        del sampling
        self.keys.append([request.key for request in requests])
        right = self.right[self.looks]
        self.looks += 1
        return [
            [
                Completion(
                    tokens=(int(i < right),),
                    logprobs=(0.0,),
                    finish=Finish.STOP,
                    policy_version=0,
                    seed=0,
                )
            ]
            for i, _ in enumerate(requests)
        ]

    def scores(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
        del completions
        return [self.proxy[self.looks - 1] + 0.01 * i for i, _ in enumerate(prompts)]


def watcher(tmp_path: Path, policy: Policy, *, answer: str = "7", steps: int = 6) -> Watcher:
    problems = [
        Problem(prompt=Conversation.of(f"What is {i} - {i} + 7?"), task="exact", answer=answer)
        for i in range(NUM + 5)
    ]
    write_problems(tmp_path / "held.jsonl", problems)
    ctx = Context.for_test(tmp_path, outputs={}, inputs={str(HELD): tmp_path / "held.jsonl"})
    return Watcher(
        replace(ctx, reporter=Heard()),
        Watch(problems=HELD, every=2, num=NUM),
        text=policy,  # type: ignore[arg-type]
        sampler=policy,  # type: ignore[arg-type]
        judge=policy,  # type: ignore[arg-type]
        sampling=Sampling(max_new_tokens=1, temperature=1.0, stop_ids=frozenset()),
        steps=steps,
    )


def train(watched: Watcher, steps: int, start: int = 0) -> Context:
    """The loop of training, with nothing learnt; returns the watcher's context."""
    seen: list[int] = []
    observe = watched.observing(lambda step, *rest: seen.append(step), start)
    for step in range(start, steps):
        observe(step, None, [], GRPO())  # type: ignore[arg-type]
    assert seen == list(range(start, steps))
    return watched._ctx


def test_there_is_a_look_before_on_the_way_and_after_with_the_same_random_numbers(
    tmp_path: Path,
) -> None:
    policy = Policy([9] * 4, [0.0] * 4)
    train(watcher(tmp_path, policy, steps=5), 5)
    looks = list(read_looks(tmp_path / "stages/01-test/watch.jsonl"))
    assert [look.step for look in looks] == [0, 2, 4, 5]
    assert len(looks[0].gold) == NUM and sum(looks[0].gold) == 9
    assert all(keys == policy.keys[0] for keys in policy.keys) and len(set(policy.keys[0])) == NUM
    assert Watch(problems=HELD, every=2).looks(5) == 4


def test_a_fall_of_gold_under_a_rising_proxy_is_said_at_once_and_once(tmp_path: Path) -> None:
    policy = Policy([20, 22, 4, 2], [0.0, 1.0, 2.0, 3.0])
    ctx = train(watcher(tmp_path, policy), 6)
    assert isinstance(ctx.reporter, Heard)
    (line,) = ctx.reporter.lines
    assert line.startswith("test: over-optimisation: from step 2 to 4 the proxy rose by 1.000 ")
    assert "held-out gold fell by 0.750 (24 problems; an alarm in at most 5% of runs" in line
    assert ctx.tallies.notes == {"alarm": line.removeprefix("test: ")}


def test_neither_a_falling_proxy_nor_rising_gold_raises_it(tmp_path: Path) -> None:
    for name, right, proxy in (
        ("a", [20, 22, 4, 2], [3.0, 2.0, 1.0, 0.0]),
        ("b", [2, 4, 20, 22], [0.0, 1.0, 2.0, 3.0]),
    ):
        ctx = train(watcher(tmp_path / name, Policy(right, proxy)), 6)
        assert ctx.tallies.notes == {}


def test_a_resume_keeps_the_looks_up_to_its_step_and_ends_with_the_same(tmp_path: Path) -> None:
    right, proxy = [20, 22, 4, 2], [0.0, 1.0, 2.0, 3.0]
    whole = train(watcher(tmp_path / "whole", Policy(right, proxy)), 6)
    train(watcher(tmp_path / "cut", Policy(right[:3], proxy[:3])), 5)  # killed after step 5
    later = watcher(tmp_path / "cut", Policy(right[2:], proxy[2:]))
    resumed = train(later, 6, start=3)  # from a checkpoint of step 3, before the look at 4
    files = [tmp_path / name / "stages/01-test/watch.jsonl" for name in ("whole", "cut")]
    assert files[0].read_text() == files[1].read_text()
    assert resumed.tallies.notes == whole.tallies.notes


def test_problems_without_gold_are_refused(tmp_path: Path) -> None:
    policy = Policy([1], [0.0])
    with pytest.raises(DataError, match=r"watch.problems: 24 of 24 .* no gold score"):
        train(watcher(tmp_path, policy, answer=""), 1)


def test_a_watch_needs_one_learnt_reward() -> None:
    watch = Watch(problems=HELD)
    with pytest.raises(ConfigError, match="watch needs a reward with one learnt model"):
        rl(watch=watch)
    with pytest.raises(ConfigError, match="watch needs a reward with one learnt model"):
        rl(watch=watch, reward=WeightedSum(parts={"long": Part(reward=Length(low=1, high=9))}))
    assert rl(watch=watch, reward_model=Ref("a", "reward")).watch == watch
    for field in ("every", "num"):
        with pytest.raises(ConfigError, match=field):
            Watch(problems=HELD, **{field: 0})
