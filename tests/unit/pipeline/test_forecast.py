"""Lengths before anything runs: nearest prompts answer, parts count by their rows."""

from dataclasses import replace

import pytest

from burnish.pipeline.budget import Speeds
from burnish.pipeline.forecast import Text, Texts, joined
from burnish.pipeline.stage import Work


def text(words: str, completion: float = 0, prompt: int = 10) -> Text:
    return Text(words=frozenset(words.split()), prompt_tokens=prompt, completion_tokens=completion)


def test_a_problem_is_answered_as_the_likeliest_demonstration_was_up_to_the_limit() -> None:
    shown = Texts(
        num_rows=3, sample=(text("add 1 2", 5), text("add 3 4", 7), text("tell a tale", 90))
    )
    asked = Texts(
        num_rows=20, sample=(text("add 8 9", prompt=12), text("a tale of two", prompt=30))
    )
    answers = shown.answering(asked, limit=64)
    assert [t.completion_tokens for t in answers.sample] == [6, 64]  # both sums are equally near
    assert answers.num_rows == 20 and answers.prompt_tokens == 21 and answers.longest == 30


def test_parts_count_by_their_rows_and_every_completion_is_a_row() -> None:
    many = Texts(num_rows=30, sample=(text("a", 10),), per_row=3)
    few = Texts(num_rows=10, sample=(text("b", 100),))
    both = joined([many, few])
    assert both.num_rows == 100
    assert both.completion_tokens == pytest.approx(0.9 * 10 + 0.1 * 100, rel=0.03)
    assert many.tree_tokens == 10 + 3 * 10


def test_seconds_are_those_of_tokens_and_those_of_steps() -> None:
    speeds = Speeds(sampled=100, trained=10, scored=50, decode_s=0.1, step_s=2, open_s=3, first_s=5)
    work = Work(
        sampled_tokens=200, trained_tokens=30, scored_tokens=50, decode_steps=20,
        optimizer_steps=4, opened=2, seconds=1,
    )  # fmt: skip
    assert speeds.seconds(work) == pytest.approx(2 + 3 + 1 + 2 + 8 + 6 + 5 + 1)
    untrained = replace(work, trained_tokens=0, optimizer_steps=0)
    assert speeds.seconds(untrained) == pytest.approx(2 + 1 + 2 + 6 + 1)
