"""Several sets of problems as one."""

from pathlib import Path

import pytest

from burnish.data.store import read_problems, write_problems
from burnish.errors import ConfigError, DataError
from burnish.pipeline.artifact import Ref
from burnish.stages.mix_problems import MixProblems
from burnish.types import Conversation, Problem
from tests.unit.stages.made_stage import run


def problems(task: str, count: int) -> list[Problem]:
    return [Problem(prompt=Conversation.of(f"{task} {i}"), task=task) for i in range(count)]


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    write_problems(tmp_path / "math.jsonl", problems("math", 60))
    write_problems(tmp_path / "code.jsonl", [*problems("code", 29), problems("math", 1)[0]])
    return {"math": tmp_path / "math.jsonl", "code": tmp_path / "code.jsonl"}


REFS = (Ref("a", "math"), Ref("a", "code"))


def test_all_of_each_set_in_random_order_each_once(sets: dict[str, Path], tmp_path: Path) -> None:
    ctx = run(MixProblems(problems=REFS), tmp_path / "run", **sets)
    mixed = read_problems(ctx.output("problems"))
    tasks = [p.task for p in mixed]
    assert len({p.id for p in mixed}) == len(mixed) == 89 and tasks.count("math") == 60
    assert 10 < tasks[:45].count("math") < 45  # neither set comes first
    assert ctx.tallies.counts["problems that several sets have, kept once"] == {"n": 1, "of": 90}
    again = run(MixProblems(problems=REFS), tmp_path / "again", **sets)
    assert read_problems(again.output("problems")) == mixed


def test_so_many_of_each_set_and_not_its_first_ones(sets: dict[str, Path], tmp_path: Path) -> None:
    ctx = run(MixProblems(problems=REFS, counts=(20, 5)), tmp_path / "run", **sets)
    mixed = read_problems(ctx.output("problems"))
    assert len(mixed) in (24, 25)  # the one that both have may be drawn twice
    of_math = [p for p in mixed if p.task == "math"]
    assert {p.id for p in of_math} != {p.id for p in problems("math", 20)}
    with pytest.raises(DataError, match=r"counts: 31 problems of a\.code .* it has 30"):
        run(MixProblems(problems=REFS, counts=(20, 31)), tmp_path / "more", **sets)


def test_counts_that_do_not_fit_the_sets_are_refused() -> None:
    with pytest.raises(ConfigError, match="counts: 1 given for 2 sets"):
        MixProblems(problems=REFS, counts=(3,))
    with pytest.raises(ConfigError, match="counts must be at least 1"):
        MixProblems(problems=REFS, counts=(3, 0))
    with pytest.raises(ConfigError, match="at least one set"):
        MixProblems(problems=())
