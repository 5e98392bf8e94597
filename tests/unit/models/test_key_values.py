"""Where the sampler keeps keys and values: places made ahead, and by layers of other shapes."""

import torch

from burnish.models.key_values import KeyValueStore


def keys(heads: int, length: int, size: int = 4) -> torch.Tensor:
    return torch.arange(heads * length * size, dtype=torch.float32).view(heads, length, size)


def test_the_first_layer_makes_the_places_of_all() -> None:
    store = KeyValueStore(slots=3, capacity=5, layers=4)
    store.write(0, 1, keys(2, 3), -keys(2, 3))
    places = [store.layer(number) for number in range(4)]
    assert {place.shape for pair in places for place in pair} == {(3, 2, 5, 4)}
    addresses = [place.data_ptr() for pair in places for place in pair]
    assert len(set(addresses)) == 8
    store.write(2, 0, keys(2, 5), keys(2, 5) + 1)
    assert [place.data_ptr() for number in range(4) for place in store.layer(number)] == addresses
    assert torch.equal(store.layer(0)[0][1, :, :3], keys(2, 3))
    assert torch.equal(store.layer(2)[1][0], keys(2, 5) + 1)
    assert not store.layer(3)[0].any()


def test_a_layer_of_another_shape_has_a_place_of_its_own() -> None:
    store = KeyValueStore(slots=1, capacity=5, layers=3)
    store.write(0, 0, keys(2, 3), keys(2, 3))
    store.write(1, 0, keys(1, 3, 8), keys(1, 3, 8))
    assert store.layer(1)[0].shape == (1, 1, 5, 8)
    assert store.layer(2)[0].shape == (1, 2, 5, 4)
    store.write(7, 0, keys(2, 3), keys(2, 3))  # beyond those that were made ahead
    assert torch.equal(store.layer(7)[0][0, :, :3], keys(2, 3))
