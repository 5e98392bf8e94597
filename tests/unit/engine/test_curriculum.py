"""A curriculum: when it goes on, and that a resume finds it where it was."""

import json

import pytest

from burnish.engine.curriculum import Curriculum, Progress, level_of, solved
from burnish.engine.problem_order import ProblemOrder
from burnish.errors import CheckpointError, ConfigError, DataError
from burnish.stages.load import ReasoningProblems
from burnish.types import Conversation, Problem, Verdict


def problem(level: int, number: int = 0) -> Problem:
    prompt = Conversation.of(f"{level} {number}")
    return Problem(prompt=prompt, task="exact", answer="1", meta=json.dumps({"level": level}))


PROBLEMS = [problem(level, i) for i in range(3) for level in (0, 2, 5)]


def test_a_level_is_left_once_enough_of_a_full_window_is_solved() -> None:
    progress = Progress(Curriculum(threshold=0.75, window=4), PROBLEMS)
    progress.note([True, True, True])
    assert progress.level == 0  # the window is not full
    progress.note([False])
    assert progress.level == 2  # 3 of 4
    progress.note([True, True, False, False])
    assert progress.level == 2
    progress.note([True, True])  # the latest four: False False True True
    assert progress.level == 2
    progress.note([True])
    assert progress.level == 5 and progress.problems == [2, 5, 8]
    progress.note([True] * 9)
    assert progress.level == 5  # there is no further one


def test_problems_are_taken_from_the_level_alone_and_resumed_there() -> None:
    def order() -> ProblemOrder:
        curriculum = Curriculum(threshold=0.5, window=2)
        return ProblemOrder(PROBLEMS, per_step=2, seed=1, curriculum=curriculum)

    def step(made: ProblemOrder, number: int) -> list[int]:
        chosen = made.choose(number, 0)
        won = Verdict(score=1.0)
        _, noted = made.gather(
            number, lambda *_: [[i] for i in chosen], lambda _: 1.0, lambda _: won
        )
        assert {level_of(PROBLEMS[i]) for i in chosen} == {int(noted["env/level"])}
        return chosen

    whole = order()
    steps = [step(whole, i) for i in range(3)]
    assert [level_of(PROBLEMS[s[0]]) for s in steps] == [0, 2, 5]
    cut = order()
    step(cut, 0)
    again = order()
    again.restore(json.loads(json.dumps(cut.state())))
    assert [step(again, i) for i in (1, 2)] == steps[1:]
    with pytest.raises(CheckpointError):
        again.restore({"level": 7, "recent": []})


def test_full_marks_are_solved_where_a_verdict_only_grades() -> None:
    assert solved(Verdict(score=1.0)) and not solved(Verdict(score=0.9))
    assert not solved(Verdict(score=1.0, passed=False)) and not solved(Verdict(score=None))


def test_levels_and_settings_are_checked() -> None:
    assert level_of(Problem(prompt=Conversation.of("a"), task="exact")) == 0
    with pytest.raises(DataError, match=r"meta\.level must be an integer"):
        level_of(Problem(prompt=Conversation.of("a"), task="exact", meta='{"level": "x"}'))
    with pytest.raises(ConfigError):
        Curriculum(threshold=1.5)


def test_harder_levels_build_on_the_options_before_and_share_no_question() -> None:
    stage = ReasoningProblems(
        task="chain_sum",
        num_train=6,
        num_heldout=3,
        options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
        harder=({"max_digits": 2, "min_digits": 2}, {"min_terms": 4, "max_terms": 4}),
    )
    train, heldout, _ = stage.split(3)
    assert [level_of(p) for p in train] == [0] * 6 + [1] * 6 + [2] * 6 and len(heldout) == 9
    questions = [p.prompt.last_user.splitlines()[-1] for p in (*train, *heldout)]
    assert len(set(questions)) == 27
    signs = [q.count("+") + q.count("-") for q in questions[:18]]
    assert signs[:12] == [1] * 12 and signs[12:] == [3] * 6
    plain = ReasoningProblems(task="chain_sum", num_train=6, num_heldout=3, options=stage.options)
    assert plain.split(3)[0] == train[:6]
