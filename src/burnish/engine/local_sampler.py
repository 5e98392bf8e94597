"""The sampler on this machine: continuous batching over a preallocated key-value store.

A prompt is prefilled once for all its completions. Rows in use are always the first slots of the
store: a finished row's slot is taken by the last row, and waiting requests are admitted as soon as
slots are free. Draws are keyed by completion and position, so what is drawn does not depend on
which rows share a batch (logits may, by rounding).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from burnish import rng
from burnish.engine.decode_graphs import DecodeGraphs, can_capture, cuda_capture
from burnish.engine.draw import draw
from burnish.engine.protocols import Request, Sampling
from burnish.errors import ConfigError
from burnish.models.attention import Decoding, Ragged
from burnish.models.key_values import KeyValueStore
from burnish.models.layers import runs_here
from burnish.models.packed import Packed
from burnish.models.policy import context_length, decoder, head_weight, hidden_states, num_layers
from burnish.models.products import linear
from burnish.types import Completion, Finish

OnToken = Callable[[int, int, int], None]
OnCompletion = Callable[[int, int, Completion], None]


@dataclass(slots=True)
class _Row:
    """One completion in progress."""

    request: int
    index: int
    key: int
    length: int
    """Entries of its slot: prompt and the sampled tokens that were fed back."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class LocalSampler:
    """Samples from a Hugging Face causal language model opened with Burnish's attention."""

    def __init__(self, model: nn.Module, *, max_rows: int = 64, version: int = 0) -> None:
        self._model = model
        self._max_rows = max_rows
        self._version = version
        self._graphs = DecodeGraphs(model, cuda_capture) if can_capture(model) else None
        self.sampled_tokens = 0

    @property
    def version(self) -> int:
        return self._version

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Copy weights in. A model shared with the learner is already up to date."""
        own = dict(self._model.named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                if own[name].data_ptr() != value.data_ptr():
                    own[name].copy_(value)
        self._version = version

    @torch.no_grad()
    def sample(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_done: Callable[[int, int], None] | None = None,
        on_token: OnToken | None = None,
        on_completion: OnCompletion | None = None,
    ) -> list[list[Completion]]:
        """`num` completions for each request, in order.

        `on_done(finished completions, sampled tokens)` is called as rows finish,
        `on_token(request, completion of it, token)` for each token, in the order of sampling, and
        `on_completion(request, completion of it, completion)` once for each as it finishes.

        Raises:
            ConfigError: a prompt is empty, or prompt and completion exceed the model's context.
        """
        self._check(requests, sampling)
        batch = _Batch(
            self._model,
            requests,
            sampling,
            self._max_rows,
            self._version,
            on_token,
            on_completion,
            self._graphs,
        )
        while batch.unfinished:
            batch.admit()
            batch.decode()
            if on_done is not None:
                on_done(batch.num_finished, batch.sampled_tokens)
        self.sampled_tokens += batch.sampled_tokens
        return batch.results()

    def _check(self, requests: Sequence[Request], sampling: Sampling) -> None:
        context = context_length(self._model)
        for request in requests:
            if not request.prompt:
                raise ConfigError("a prompt has no tokens: nothing to continue")
            limit = request.limit(sampling)
            if limit < 1:
                raise ConfigError(f"max_new_tokens={limit}: sample at least one token")
            if len(request.prompt) + limit > context:
                raise ConfigError(
                    f"a prompt of {len(request.prompt)} tokens and {limit} new ones exceed the "
                    f"model's context of {context}"
                )


class _Batch:
    """The state of one `sample` call."""

    def __init__(
        self,
        model: nn.Module,
        requests: Sequence[Request],
        sampling: Sampling,
        max_rows: int,
        version: int,
        on_token: OnToken | None,
        on_completion: OnCompletion | None,
        graphs: DecodeGraphs | None,
    ) -> None:
        self._graphs = graphs
        self._model, self._sampling, self._version = model, sampling, version
        self._on_token, self._on_completion = on_token, on_completion
        self._requests = requests
        self._weight = head_weight(model)
        self._device = self._weight.device
        below = decoder(model)
        self._packed = None
        if runs_here(below):
            self._packed = Packed(below, self._weight, min(max_rows, sum(r.num for r in requests)))
        self._waiting = [
            _Row(r, i, rng.key(request.key, "completion", i), len(request.prompt))
            for r, request in enumerate(requests)
            for i in range(request.num)
        ][::-1]
        self._slots = min(max_rows, len(self._waiting))
        self._rows: list[_Row] = []
        self._finished: dict[tuple[int, int], Completion] = {}
        self._limits = [request.limit(sampling) for request in requests]
        ends = (len(r.prompt) + n for r, n in zip(requests, self._limits, strict=True))
        slots, capacity = max(self._slots, 1), max(ends, default=0)
        if graphs is None:
            self._store = KeyValueStore(slots=slots, capacity=capacity, layers=num_layers(model))
        else:
            self._store = graphs.store(slots=slots, capacity=capacity)
        self.sampled_tokens = 0

    @property
    def unfinished(self) -> bool:
        return bool(self._waiting or self._rows)

    @property
    def num_finished(self) -> int:
        return len(self._finished)

    def admit(self) -> None:
        """Prefill waiting rows into free slots: each prompt once, whatever its number of rows."""
        free = self._slots - len(self._rows)
        # A few at a time would prefill with tiny batches: wait for an eighth of the slots.
        if not self._waiting or (self._rows and free < max(self._slots // 8, 1)):
            return
        fresh = [self._waiting.pop() for _ in range(min(free, len(self._waiting)))]
        order = list(dict.fromkeys(row.request for row in fresh))
        copies = tuple(
            tuple(len(self._rows) + i for i, row in enumerate(fresh) if row.request == r)
            for r in order
        )
        prompts = [self._requests[r].prompt for r in order]
        layout = Ragged.of(
            [(0, [len(p)]) for p in prompts], self._device, store=self._store, copies=copies
        )
        tokens = torch.tensor([[t for p in prompts for t in p]], device=self._device)
        hidden = hidden_states(self._model, tokens, layout, self._packed)[0]
        lasts = dict(zip(order, layout.lasts, strict=True))
        ends = torch.tensor([lasts[row.request] for row in fresh], device=self._device)
        self._rows += fresh
        self._append(fresh, *self._draw(hidden.index_select(0, ends), fresh))
        self._retire()

    def decode(self) -> None:
        """Feed every row its last token and draw the next."""
        if not self._rows:
            return
        tokens = [row.tokens[-1] for row in self._rows]
        lengths = [row.length for row in self._rows]
        if self._graphs is not None:
            drawn = self._graphs.step(tokens, lengths, _uniforms(self._rows), self._sampling)
        else:
            given, positions = torch.tensor([tokens, lengths], device=self._device)[..., None]
            layout = Decoding(self._store, positions, max(lengths) + 1)
            hidden = hidden_states(self._model, given, layout, self._packed)[:, 0]
            drawn = self._draw(hidden, self._rows)
        for row in self._rows:
            row.length += 1
        self._append(self._rows, *drawn)
        self._retire()

    def _draw(self, hidden: Tensor, rows: Sequence[_Row]) -> tuple[list[int], list[float]]:
        if self._packed is None:
            logits = linear(hidden, self._weight)
        else:
            logits = self._packed.logits(hidden, self._weight)
        uniforms = torch.from_numpy(_uniforms(rows)).to(self._device)
        sampling = self._sampling
        tokens, logprobs = draw(
            logits,
            uniforms,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )
        return tokens.tolist(), logprobs.tolist()

    def _append(
        self, rows: Sequence[_Row], tokens: Sequence[int], logprobs: Sequence[float]
    ) -> None:
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            if self._on_token is not None:
                self._on_token(row.request, row.index, token)
        self.sampled_tokens += len(rows)

    def _retire(self) -> None:
        """Take finished rows out; the last row moves into each freed slot."""
        slot = 0
        while slot < len(self._rows):
            row = self._rows[slot]
            stopped = row.tokens[-1] in self._sampling.stop_ids
            if not stopped and len(row.tokens) < self._limits[row.request]:
                slot += 1
                continue
            completion = Completion(
                tokens=tuple(row.tokens),
                logprobs=tuple(row.logprobs),
                finish=Finish.STOP if stopped else Finish.LENGTH,
                policy_version=self._version,
                seed=row.key,
            )
            self._finished[row.request, row.index] = completion
            if self._on_completion is not None:
                self._on_completion(row.request, row.index, completion)
            last = self._rows.pop()
            if last is not row:
                self._store.move(len(self._rows), slot, last.length)
                self._rows[slot] = last

    def results(self) -> list[list[Completion]]:
        """Completions by request, in order."""
        return [
            [self._finished[r, i] for i in range(request.num)]
            for r, request in enumerate(self._requests)
        ]


def _uniforms(rows: Sequence[_Row]) -> Float64[np.ndarray, " N"]:
    """What each row's next token is drawn by."""
    keys = np.array([row.key for row in rows], dtype=np.uint64)
    counters = np.array([len(row.tokens) for row in rows], dtype=np.uint64)
    return rng.uniforms(keys, counters)
