"""Keys and values of completions in progress, for the sampler."""

import math
import mmap

import torch
from jaxtyping import Float
from torch import Tensor


class KeyValueStore:
    """Preallocated keys and values of each layer: `[slots, kv_heads, capacity, size]`.

    Slots in use are always the first ones, so that a decoding step reads plain slices. Places are
    made when a layer first writes: configs do not agree on how to name its heads and sizes.
    """

    def __init__(self, *, slots: int, capacity: int, layers: int = 1) -> None:
        """The first layer that writes makes the places of so many: made by each in its turn, they
        would leave a small object between the large tensors of every layer, which could then not
        be used again in one piece."""
        self._slots, self._capacity, self._ahead = slots, capacity, layers
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, number: int) -> tuple[Tensor, Tensor]:
        """The keys and values of a layer that has been written to."""
        return self._layers[number]

    def write(
        self,
        number: int,
        slot: int,
        keys: Float[Tensor, "kv_heads length size"],
        values: Float[Tensor, "kv_heads length size"],
    ) -> None:
        """Put a prompt's keys and values at the start of a slot."""
        if not self._layers:
            for layer in range(number, number + self._ahead):
                self._layers[layer] = (self._room(keys), self._room(values))
        if number not in self._layers or not self._holds(number, keys, values):
            self._layers[number] = (self._room(keys), self._room(values))
        for store, given in zip(self._layers[number], (keys, values), strict=True):
            store[slot, :, : given.shape[1]] = given

    def _holds(self, number: int, keys: Tensor, values: Tensor) -> bool:
        """Whether a layer's place has the heads and sizes of what is given."""
        return all(
            (store.shape[1], store.shape[3]) == (given.shape[0], given.shape[2])
            for store, given in zip(self._layers[number], (keys, values), strict=True)
        )

    def _room(self, like: Tensor) -> Tensor:
        shape = (self._slots, like.shape[0], self._capacity, like.shape[2])
        if like.device.type != "cpu":
            return like.new_zeros(shape)
        # Pages of their own, which the system clears when they are first used: most slots never
        # fill up, and what they took is handed back when the store goes.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        room = mmap.mmap(-1, math.prod(shape) * like.element_size(), flags=private)
        return torch.frombuffer(room, dtype=like.dtype).view(shape)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one slot's first `length` entries over another's."""
        for store in (tensor for pair in self._layers.values() for tensor in pair):
            store[target, :, :length] = store[source, :, :length]
