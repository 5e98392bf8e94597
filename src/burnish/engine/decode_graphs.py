"""Decoding on a GPU as captured graphs: the host launches a step at once, not kernel by kernel.

A graph is replayed on the very memory that it was captured on. So what a step reads and writes lies
in buffers that stay: what is given (tokens, positions, uniforms), the keys and values, and what is
drawn. A graph serves a number of rows and a reach (how far into the store attention looks), both
rounded up: rows beyond those in use decode position 0 of slots that nobody reads. Graphs are
captured when they are first needed. Of a step the host waits for one copy: what was drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from burnish.engine.draw import draw
from burnish.engine.protocols import Sampling
from burnish.models.attention import Decoding
from burnish.models.key_values import KeyValueStore
from burnish.models.layers import FAMILY
from burnish.models.policy import decoder, head_weight, hidden_states

LEAST_REACH = 128
"""Entries: shorter reaches gain nothing over this one."""
WARM_UP = 2
"""Runs before a capture, in which libraries set themselves up and kernels are chosen."""

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""Takes work on buffers that stay, and gives what does it again. It may do it on the way, more than
once: a step is the same however often it is done."""


def can_capture(model: nn.Module) -> bool:
    """Whether steps of the model can be captured: it is on a GPU, and does the same each time."""
    return head_weight(model).device.type == "cuda" and has_equal_steps(decoder(model))


def has_equal_steps(decoder: Any) -> bool:
    """Whether a step is known to be the same kernels each time: no choices that depend on numbers
    (experts, rotary frequencies that follow the length), and no windows, which a reach that is
    rounded up could pass."""
    return (
        type(decoder).__name__ in FAMILY
        and vars(decoder.config).get("sliding_window") is None
        and not any(kind in decoder.rotary_emb.rope_type for kind in ("dynamic", "longrope"))
    )


def cuda_capture() -> Capture:
    """Captures graphs that share their working memory: they never run at one time."""
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Work) -> Work:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            work()
        return graph.replay

    return capture


def rows_bucket(rows: int, slots: int) -> int:
    """The power of two from `rows` on, or all slots."""
    return int(min(1 << (rows - 1).bit_length(), slots))


def reach_bucket(reach: int, capacity: int) -> int:
    """The power of two from `reach` on, at least 128, or the whole capacity."""
    return int(min(max(1 << (reach - 1).bit_length(), LEAST_REACH), capacity))


class DecodeGraphs:
    """The decoding steps of one model, whose weights may change in place."""

    def __init__(self, model: nn.Module, new_capture: Callable[[], Capture]) -> None:
        self._model, self._new_capture = model, new_capture
        self._weight = head_weight(model)
        self._slots = self._capacity = 0
        self._forget()

    def _forget(self) -> None:
        """Let go of graphs and store, for memory of other sizes."""
        self._graphs: dict[tuple[int, int, tuple[float, ...]], Work] = {}
        self._capture = self._new_capture()  # a pool without graphs cannot be used again
        self._store = KeyValueStore(slots=self._slots, capacity=self._capacity)
        device = self._weight.device
        self._given = torch.zeros(3, self._slots, dtype=torch.int64, device=device)
        self._drawn = torch.zeros(2, self._slots, dtype=torch.int64, device=device)
        # Only from pinned memory does a copy not make the host wait.
        self._staged = torch.zeros(
            3, self._slots, dtype=torch.int64, pin_memory=device.type == "cuda"
        )

    def store(self, slots: int, capacity: int) -> KeyValueStore:
        """A store of at least so many slots and entries each: the same one as before, unless it has
        to grow, because the graphs know its memory. It is kept for later calls."""
        if slots > self._slots or capacity > self._capacity:
            rounded = -(-capacity // LEAST_REACH) * LEAST_REACH
            self._slots, self._capacity = max(slots, self._slots), max(rounded, self._capacity)
            self._forget()
        return self._store

    def step(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        uniforms: Float64[np.ndarray, " N"],
        sampling: Sampling,
    ) -> tuple[list[int], list[float]]:
        """Feed the first slots a token each at its position; what is drawn next, and its
        log-probability."""
        count = len(tokens)
        rows = rows_bucket(count, self._slots)
        reach = reach_bucket(max(positions) + 1, self._capacity)
        staged = self._staged.numpy()
        staged[:] = 0
        staged[0, :count], staged[1, :count] = tokens, positions
        staged[2, :count] = uniforms.view(np.int64)
        self._given.copy_(self._staged, non_blocking=True)
        self._graph(rows, reach, sampling)()
        drawn = self._drawn.cpu().numpy()[:, :count]
        return drawn[0].tolist(), drawn[1].view(np.float64).tolist()

    def _graph(self, rows: int, reach: int, sampling: Sampling) -> Work:
        how = (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
        key = (rows, reach, how)
        if key not in self._graphs:
            self._graphs[key] = self._capture(lambda: self._work(rows, reach, sampling))
        return self._graphs[key]

    def _work(self, rows: int, reach: int, sampling: Sampling) -> None:
        """A step on the buffers."""
        tokens, positions, uniforms = self._given[:, :rows]
        layout = Decoding(self._store, positions[:, None], reach)
        hidden = hidden_states(self._model, tokens[:, None], layout)[:, 0]
        drawn, logprobs = draw(
            nn.functional.linear(hidden, self._weight),
            uniforms.view(torch.float64),
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )
        self._drawn[0, :rows] = drawn
        self._drawn[1, :rows] = logprobs.double().view(torch.int64)
