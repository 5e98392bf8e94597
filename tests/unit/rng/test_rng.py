"""Random streams: named, independent of one another and of what is drawn beside them."""

import numpy as np

from burnish import rng


def test_keys_differ_by_every_part_of_the_name_and_by_its_type() -> None:
    names: list[tuple[str | int, ...]] = [(), ("a",), ("a", 1), ("a", "1"), ("a1",), (1, "a")]
    keys = {rng.key(seed, *name) for seed in (0, 1, -1) for name in names}
    assert len(keys) == 3 * len(names)
    assert all(0 <= key < 2**63 for key in keys)


def test_keys_are_the_same_on_every_machine() -> None:
    assert rng.key(0, "rl", 3, "problem") == 6187709330523794394


def test_a_row_of_uniforms_does_not_depend_on_its_neighbours() -> None:
    keys = np.array([rng.key(0, "row", i) for i in range(64)], dtype=np.uint64)
    together = rng.uniforms(keys, 5)
    alone = np.concatenate([rng.uniforms(keys[i : i + 1], 5) for i in range(64)])
    assert (together == alone).all()
    assert (together != rng.uniforms(keys, 6)).all()


def test_the_largest_draw_is_still_below_one() -> None:
    # Inverts SplitMix64, so that the last output is all ones.
    mask = 2**64 - 1
    z = mask ^ (mask >> 31) ^ (mask >> 62)
    z = z * pow(0x94D049BB133111EB, -1, 2**64) & mask
    z = z ^ (z >> 27) ^ (z >> 54)
    z = z * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    z = z ^ (z >> 30) ^ (z >> 60)
    key = (z - 0x9E3779B97F4A7C15) & mask
    assert 1 - 2.0**-52 < rng.uniforms(np.array([key], dtype=np.uint64), 0)[0] < 1


def test_uniforms_are_uniform_over_keys_and_over_counters() -> None:
    keys = np.array([rng.key(0, i) for i in range(4000)], dtype=np.uint64)
    over_keys = rng.uniforms(keys, 0)
    over_counters = np.array([rng.uniforms(keys[:1], t)[0] for t in range(4000)])
    for draws in (over_keys, over_counters):
        counts = np.histogram(draws, bins=10, range=(0, 1))[0]
        assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-squared, 9 degrees, p = 0.001
        assert draws.min() > 0 and draws.max() < 1
    assert abs(np.corrcoef(over_keys[:-1], over_keys[1:])[0, 1]) < 0.06


def test_a_stream_starts_over_each_time_it_is_asked_for() -> None:
    first = rng.stream(1, "order").permutation(50)
    assert (rng.stream(1, "order").permutation(50) == first).all()
    assert (rng.stream(1, "other").permutation(50) != first).any()
