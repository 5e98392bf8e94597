from collections import Counter

import pytest

from burnish.data.mixture import weighted
from burnish.data.splits import overlap, prompt_key, split
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, PreferencePair


def pairs(num_prompts: int, each: int) -> list[PreferencePair]:
    return [
        PreferencePair(prompt=Conversation.of(f"question {i}"), chosen=f"a{j}", rejected="b")
        for i in range(num_prompts)
        for j in range(each)
    ]


def test_pairs_of_one_prompt_never_straddle_a_split():
    items = pairs(200, 3)
    train, held = split(items, key=prompt_key, heldout=0.25, seed=1)
    assert len(train) + len(held) == 600 and len(held) % 3 == 0
    assert overlap(train, held, key=prompt_key) == 0
    assert 100 < len(held) < 200


def test_a_growing_data_set_keeps_its_heldout_items():
    items = pairs(100, 1)
    _, held = split(items, key=prompt_key, heldout=0.2, seed=1)
    _, more = split(pairs(150, 1), key=prompt_key, heldout=0.2, seed=1)
    assert [item for item in more if item in items] == held
    _, other = split(items, key=prompt_key, heldout=0.2, seed=2)
    assert other != held


def test_a_count_holds_out_whole_prompts_until_it_is_met():
    _, held = split(pairs(50, 3), key=prompt_key, heldout=10, seed=0)
    assert len(held) == 12


def test_a_split_that_leaves_a_side_empty_is_refused():
    with pytest.raises(DataError, match="leaves 0 to train on"):
        split(pairs(1, 3), key=prompt_key, heldout=1, seed=0)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split(pairs(2, 1), key=prompt_key, heldout=1.5, seed=0)


def test_prompts_that_differ_in_case_and_space_overlap():
    train = [Conversation.of("What is  it?", "a")]
    held = [Conversation.of("what is it? ", "b"), Conversation.of("other", "b")]
    assert overlap(train, held, key=prompt_key) == 1


def test_an_epoch_is_a_permutation_of_its_own():
    def epoch(number: int, seed: int) -> list[int]:
        draws = weighted([100], [1.0], seed=seed, first=100 * number, count=100)
        assert {d.epoch for d in draws} == {number}
        return [d.row for d in draws]

    assert sorted(epoch(0, 7)) == list(range(100))
    assert epoch(0, 7) != epoch(1, 7) != epoch(1, 8)


def test_a_mixture_resumes_from_its_position_alone():
    sizes, weights = [5, 17, 3], [0.2, 3.0, 1.1]
    whole = weighted(sizes, weights, seed=3, first=0, count=504)
    for first in range(0, 504, 7):
        part = weighted(sizes, weights, seed=3, first=first, count=7)
        assert part == whole[first : first + 7]


def test_a_mixture_keeps_to_its_weights_and_passes_over_sources_in_epochs():
    weights = [0.5, 0.3, 0.2]
    draws = weighted([10, 7, 20], weights, seed=0, first=0, count=300)
    for n in range(1, 301):
        seen = Counter(d.source for d in draws[:n])
        assert all(abs(seen[s] - n * w) <= 3 for s, w in enumerate(weights))
    for source, size in enumerate([10, 7, 20]):
        rows = [d.row for d in draws if d.source == source]
        assert sorted(rows[:size]) == list(range(size))


def test_weights_that_cannot_be_met_are_refused():
    with pytest.raises(ConfigError, match="weights"):
        weighted([1, 2], [1.0], seed=0, first=0, count=1)
    with pytest.raises(ConfigError, match="positive"):
        weighted([1, 2], [1.0, float("nan")], seed=0, first=0, count=1)
