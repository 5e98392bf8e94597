"""Keys and values of completions in progress, for the sampler."""

import math
import mmap

import torch
from jaxtyping import Float
from torch import Tensor


class KeyValueStore:
    """Preallocated keys and values of each layer: `[slots, kv_heads, capacity, size]`.

    Slots in use are always the first ones, so that a decoding step reads plain slices. A layer's
    place is made when it first writes: configs do not agree on how to name its heads and sizes.
    """

    def __init__(self, *, slots: int, capacity: int) -> None:
        self._slots, self._capacity = slots, capacity
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
        if number not in self._layers:
            self._layers[number] = (self._room(keys), self._room(values))
        for store, given in zip(self._layers[number], (keys, values), strict=True):
            store[slot, :, : given.shape[1]] = given

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
