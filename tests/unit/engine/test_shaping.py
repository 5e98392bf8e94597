"""What the way a completion ends does to its score."""

import pytest

from burnish.engine.shaping import Shaping
from burnish.errors import ConfigError
from burnish.types import Completion, Finish


def completion(length: int, finish: Finish = Finish.STOP) -> Completion:
    return Completion(
        tokens=(5,) * length, logprobs=(-1.0,) * length, finish=finish, policy_version=0, seed=0
    )


CUT = completion(100, Finish.LENGTH)


def test_by_default_nothing_changes():
    assert Shaping().shaped(0.7, CUT, 100) == 0.7
    assert Shaping().shaped(None, CUT, 100) is None


def test_being_cut_costs_and_ending_does_not():
    shaping = Shaping(missing_eos_penalty=1.0)
    assert shaping.shaped(0.25, CUT, 100) == -0.75
    assert shaping.shaped(0.25, completion(100), 100) == 0.25


def test_being_cut_may_decide_the_score_whatever_the_completion_says():
    shaping = Shaping(cut_score=-10.0)
    assert shaping.shaped(10.0, CUT, 100) == shaping.shaped(0.0, CUT, 100) == -10.0
    assert shaping.shaped(10.0, completion(100), 100) == 10.0
    assert shaping.shaped(None, CUT, 100) is None
    assert Shaping(cut_score=-1.0, missing_eos_penalty=0.5).shaped(1.0, CUT, 100) == -1.5
    with pytest.raises(ConfigError, match="cut_score"):
        Shaping(cut_score=float("nan"))


def test_the_last_tokens_before_the_limit_cost_linearly():
    shaping = Shaping(overlong_buffer=20)
    assert shaping.shaped(1.0, completion(80), 100) == 1.0
    assert shaping.shaped(1.0, completion(90), 100) == 0.5
    assert shaping.shaped(1.0, CUT, 100) == 0.0


def test_what_was_cut_can_be_left_out():
    shaping = Shaping(mask_truncated=True)
    assert shaping.shaped(1.0, CUT, 100) is None
    assert shaping.shaped(1.0, completion(99), 100) == 1.0


@pytest.mark.parametrize("knob", ["missing_eos_penalty", "overlong_buffer"])
def test_rewards_for_being_long_are_refused(knob):
    with pytest.raises(ConfigError, match=f"{knob} must be at least 0"):
        Shaping(**{knob: -1})
