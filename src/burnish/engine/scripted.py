"""A sampler that says what it is told: episodes and loops can be tried without a model."""

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from burnish.engine.protocols import Request, Sampling
from burnish.types import Completion, Finish

Script = Callable[[tuple[int, ...], int], Sequence[int]]
"""Ids to write after a prompt, as the i-th of its completions."""


class ScriptedSampler:
    """Writes a script's ids, each as if it had been one of two equally likely ones."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._version = 0
        self.sampled_tokens = 0
        self.requests: list[list[Request]] = []
        """Of each call, in order."""

    @property
    def version(self) -> int:
        return self._version

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Only the version changes."""
        del weights
        self._version = version

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """The script's ids up to the first stop token, or to the limit."""
        self.requests.append(list(requests))
        return [[self._completion(r, i, sampling) for i in range(r.num)] for r in requests]

    def _completion(self, request: Request, index: int, sampling: Sampling) -> Completion:
        ids = list(self._script(request.prompt, index))
        stop = next((i for i, t in enumerate(ids) if t in sampling.stop_ids), None)
        limit = request.limit(sampling)
        stopped = stop is not None and stop < limit
        kept = tuple(ids[: stop + 1] if stop is not None and stopped else ids[:limit])
        assert stopped or len(kept) == limit, "a script must stop, or go on to the limit"
        self.sampled_tokens += len(kept)
        return Completion(
            tokens=kept,
            logprobs=(-math.log(2),) * len(kept),
            finish=Finish.STOP if stopped else Finish.LENGTH,
            policy_version=self._version,
            seed=request.key,
        )
