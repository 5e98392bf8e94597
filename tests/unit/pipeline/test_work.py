"""What a stage is expected to cost, counted in forward passes of one token."""

import pytest

from burnish.pipeline.stage import Work, forwards


def test_a_token_costs_one_pass_to_sample_or_score_and_three_to_train_on() -> None:
    assert forwards(1, 10, 100) == 131
    assert Work(sampled_tokens=1, trained_tokens=10, scored_tokens=100).forwards == 131


def test_work_within_a_limit_keeps_its_shares() -> None:
    work = Work(sampled_tokens=10, trained_tokens=20, scored_tokens=30, seconds=5)
    half = work.within(50)
    assert half == Work(sampled_tokens=5, trained_tokens=10, scored_tokens=15, seconds=5)
    assert half.forwards == pytest.approx(50)
    assert work.within(None) == work.within(1000) == work
    assert Work(seconds=3).within(1) == Work(seconds=3)
