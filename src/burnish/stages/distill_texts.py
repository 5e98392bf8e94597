"""What each step of distillation trains on: texts of the student, of the teacher, or given data."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish import rng
from burnish.data.mixture import weighted
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError
from burnish.models.policy import Tree, context_length, share_prompts
from burnish.stages.sample import Draws
from burnish.text.chat import Encoded, render_mask
from burnish.types import Completion, Finish, Json, Problem

Writer = Literal["student", "teacher", "data"]
SHOWN_FIRST, SHOWN = 8, 2
"""Texts of the first step that the report shows with their masks; completions of each step."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one step, and what there is to log and to show of them."""

    trees: list[Tree]
    sums: Mapping[str, Tensor]
    shown: list[dict[str, Json]]


class TextSource:
    """Which texts a step has follows from the seed and the step alone, given the weights."""

    def __init__(
        self,
        *,
        student: TextModel,
        teacher: TextModel,
        problems: Sequence[Problem],
        data: Sequence[Encoded],
        draws: Draws,
        on_policy: float,
        problems_per_step: int,
        num_samples: int,
        max_rows: int,
        micro_tokens: int,
        seed: int,
    ) -> None:
        """Without `data` the teacher writes what the student does not.

        Raises:
            ConfigError: a prompt and its completion exceed the context of either model.
        """
        self._text, self._problems, self._data = student, problems, data
        self._on_policy, self._seed = on_policy, seed
        self._per_step, self._num_samples = problems_per_step, num_samples
        self._micro_tokens = micro_tokens
        self._sampling = draws.sampling(student.stop_ids)
        self._prompts = [student.prompt(p.prompt) for p in problems]
        self._samplers = {
            "student": LocalSampler(student.model, max_rows=max_rows),
            "teacher": LocalSampler(teacher.model, max_rows=max_rows),
        }
        needed = max(map(len, self._prompts), default=0) + draws.max_new_tokens
        for text in (student, teacher):
            if needed > context_length(text.model):
                raise ConfigError(
                    f"{text.path}: the longest prompt and max_new_tokens={draws.max_new_tokens}"
                    f" take {needed} tokens, and its context is {context_length(text.model)}"
                )

    def texts(self, step: int) -> Texts:
        """Of one step, sampled now if anybody has to write them."""
        writer = self._writer(step)
        return self._given(step) if writer == "data" else self._written(step, writer)

    def _given(self, step: int) -> Texts:
        count = self._per_step * self._num_samples
        rows = [self._data[i] for i in self._chosen("data", len(self._data), step, count)]
        trees = [Tree.document(row.ids, row.mask) for row in rows]
        return Texts(trees, _sums(texts=len(rows)), self._first(step, trees))

    def _written(self, step: int, writer: Writer) -> Texts:
        chosen = self._chosen("problems", len(self._problems), step, self._per_step)
        requests = [
            Request(
                prompt=self._prompts[i],
                key=rng.key(self._seed, "distill", step, self._problems[i].id, place),
                num=self._num_samples,
            )
            for place, i in enumerate(chosen)
        ]
        started, sampler = time.perf_counter(), self._samplers[writer]
        before = sampler.sampled_tokens
        groups = sampler.sample(requests, self._sampling)
        rows = [(i, c) for i, group in zip(chosen, groups, strict=True) for c in group]
        sums = _sums(
            texts=len(rows),
            cut=sum(c.finish is Finish.LENGTH for _, c in rows),
            sampled=sampler.sampled_tokens - before,
            sample_seconds=time.perf_counter() - started,
            on_policy=writer == "student",
        )
        prompts = [self._prompts[i] for i, _ in rows]
        shared = share_prompts(prompts, [c.tokens for _, c in rows], self._micro_tokens)
        trees = [tree for tree, _ in shared]
        shown = [self._shown(step, writer, self._problems[i], c) for i, c in rows[:SHOWN]]
        return Texts(trees, sums, self._first(step, trees) + shown)

    def _writer(self, step: int) -> Writer:
        if rng.stream(self._seed, "on_policy", step).random() < self._on_policy:
            return "student"
        return "data" if self._data else "teacher"

    def _chosen(self, name: str, size: int, step: int, count: int) -> list[int]:
        """Consecutive ones of each epoch's permutation, end to end."""
        seed = rng.key(self._seed, name)
        draws = weighted([size], [1.0], seed=seed, first=step * count, count=count)
        return [draw.row for draw in draws]

    def _first(self, step: int, trees: Sequence[Tree]) -> list[dict[str, Json]]:
        """The first texts of the first step, with what is trained on."""
        rows = [
            (tree.stem + branch, (False,) * len(tree.stem) + flags)
            for tree in trees
            for branch, flags in zip(tree.branches, tree.trained, strict=True)
        ]
        return [
            {"kind": "first_batch", "text": render_mask(ids, flags, self._text.tokenizer)}
            for ids, flags in rows[: SHOWN_FIRST if step == 0 else 0]
        ]

    def _shown(
        self, step: int, writer: Writer, problem: Problem, completion: Completion
    ) -> dict[str, Json]:
        return {
            "step": step,
            "model": writer,
            "prompt": problem.prompt.last_user,
            "completion": self._text.decode(completion.tokens),
        }


def _sums(
    *,
    texts: int,
    cut: int = 0,
    sampled: int = 0,
    sample_seconds: float = 0.0,
    on_policy: bool = False,
) -> dict[str, Tensor]:
    values = {
        "texts": texts,
        "cut": cut,
        "sampled": sampled,
        "sample_seconds": sample_seconds,
        "on_policy": on_policy,
    }
    return {name: torch.tensor(float(value)) for name, value in values.items()}
