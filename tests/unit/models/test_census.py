"""The census counts models that are there at one time, and forgets those let go of."""

from torch import nn

from burnish.models.census import Census


def test_the_most_at_one_time_are_counted_and_not_all_that_were_opened() -> None:
    census = Census()
    first = nn.Linear(1, 1)
    census.add(first)
    del first
    census.add(second := nn.Linear(1, 1))
    assert census.most == 1
    census.add(third := nn.Linear(1, 1))
    assert census.most == 2
    census.begin()
    assert census.most == 0
    census.add(fourth := nn.Linear(1, 1))  # the two that were there before are somebody else's
    assert census.most == 1
    assert len({id(m) for m in (second, third, fourth)}) == 3
