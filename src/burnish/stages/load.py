"""Stages that bring models and data into a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.everyday import (
    demonstrations,
    everyday_digest,
    format_demonstrations,
    instructions,
)
from burnish.data.store import write_conversations, write_problems
from burnish.envs.arithmetic import ASK, reasoning_problems
from burnish.envs.worked_sums import worked_sums
from burnish.models.get import DONE, HUB, KNOWN, locate
from burnish.models.shape import ModelShape, check_shape
from burnish.pipeline.files import link
from burnish.pipeline.stage import Context
from burnish.text.template import check_template, read_template, set_template, sha256_of
from burnish.text.tokenizer import load_tokenizer
from burnish.types import Json, Problem

SAMPLE = 1 << 20
"""Bytes that are read at one place of a large file."""


@dataclass(frozen=True, kw_only=True)
class LoadModel:
    """A model by name (`burnish get`), from a directory, or from a hub's local copy."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    name: str
    """`smollm2`, the path of a Hugging Face directory, or `hub:owner/name[@revision]`, which is
    fetched only where HF_HUB_OFFLINE=0 allows it."""
    shape: ModelShape | None = None
    """What the model is like, for plans of recipes whose weights are elsewhere; one that is opened
    must have this shape."""
    template: str = ""
    """A chat template in place of the model's own, which a base model lacks: chatml, llama2, plain
    or tulu, or a Jinja file of yours."""
    template_sha256: str = ""
    """Locks the chat template: a model with another one is refused. All stages that go on from this
    one have its template, because models travel with their tokenizer."""

    def __post_init__(self) -> None:
        digits = set(self.template_sha256) <= set("0123456789abcdef")
        require(
            not self.template_sha256 or (len(self.template_sha256) == 64 and digits),
            "template_sha256 must be 64 of 0-9 and a-f",
        )

    def fingerprint(self) -> str:
        """A known model's checksum; else of the directory's files, weights by size and samples.

        What a hub holds is only known once it was fetched: there the name with its revision counts.
        """
        template = sha256_of(read_template(self.template)) if self.template else ""
        if self.name in KNOWN:
            return KNOWN[self.name].member_sha256 + template
        if self.name.startswith(HUB):
            return template
        return _digest(locate(self.name, Path())) + template

    def run(self, ctx: Context) -> None:
        source, out = locate(self.name, ctx.cache), ctx.output("model")
        if self.shape is not None:
            check_shape(self.shape, source)
        out.mkdir(parents=True, exist_ok=True)
        for file in sorted(source.iterdir()):
            if file.is_file() and file.name != DONE and not (out / file.name).exists():
                link(file.resolve(), out / file.name)
        if self.template:
            set_template(out, read_template(self.template))
        if self.template_sha256:
            check_template(load_tokenizer(out), self.template_sha256)


@dataclass(frozen=True, kw_only=True)
class ReasoningProblems:
    """Generated problems with exact answers, split so that no question is in both parts."""

    outputs: ClassVar[Mapping[str, str]] = {"train": "problems", "heldout": "problems"}

    task: str
    """A task of reasoning-gym, such as chain_sum."""
    num_train: int
    num_heldout: int
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Passed to the task, such as min_terms."""
    harder: tuple[dict[str, bool | int | float | str], ...] = ()
    """Options of further levels, each on top of all before: a curriculum. Every level has
    num_train problems and num_heldout held out."""
    check: Literal["exact", "reasoning"] = "exact"
    """exact: the one answer given; reasoning: the task's own scorer, for tasks with several."""

    def __post_init__(self) -> None:
        require(self.num_train >= 1, "num_train must be at least 1")
        require(self.num_heldout >= 1, "num_heldout must be at least 1")

    def fingerprint(self) -> str:
        """Of what the questions are made by: the library's version, and the format asked for."""
        return f"reasoning-gym {version('reasoning-gym')}; {ASK}"

    def split(self, seed: int) -> tuple[list[Problem], list[Problem], int]:
        """(train, heldout) under a stage's seed, and how many questions were passed over."""
        train: list[Problem] = []
        heldout: list[Problem] = []
        passed_over, options = 0, dict(self.options)
        for level, more in enumerate(({}, *self.harder)):
            options |= more
            problems, more_over = reasoning_problems(
                self.task,
                self.num_train + self.num_heldout,
                seed=seed,
                options=options,
                check=self.check,
                level=level,
                without={p.prompt.last_user for p in (*train, *heldout)},
            )
            # Heldout first: a larger training part leaves the held-out problems as they were.
            train += problems[self.num_heldout :]
            heldout += problems[: self.num_heldout]
            passed_over += more_over
        return train, heldout, passed_over

    def run(self, ctx: Context) -> None:
        train, heldout, over = self.split(ctx.seed)
        asked = len(train) + len(heldout) + over
        ctx.count("questions passed over, repeated or without an answer", over, asked)
        write_problems(ctx.output("heldout"), heldout)
        write_problems(ctx.output("train"), train)
        ctx.write_samples(map(_shown, [*heldout, *train][:8]))


@dataclass(frozen=True, kw_only=True)
class WorkedSums:
    """Sums to be done in steps, and demonstrations of others: no sum is in two of the parts."""

    outputs: ClassVar[Mapping[str, str]] = {
        "train": "problems",
        "heldout": "problems",
        "demonstrations": "conversations",
    }

    num_train: int
    num_heldout: int
    num_demonstrations: int
    min_terms: int = 3
    max_terms: int = 4

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_heldout", "num_demonstrations")
        require(2 <= self.min_terms <= self.max_terms, "min_terms must be from 2 to max_terms")

    def run(self, ctx: Context) -> None:
        total = self.num_heldout + self.num_train + self.num_demonstrations
        problems, shown = worked_sums(
            total, seed=ctx.seed, min_terms=self.min_terms, max_terms=self.max_terms
        )
        first, last = self.num_heldout, self.num_heldout + self.num_train
        write_problems(ctx.output("heldout"), problems[:first])
        write_problems(ctx.output("train"), problems[first:last])
        write_conversations(ctx.output("demonstrations"), shown[last:])
        ctx.write_samples(map(_shown, problems[:8]))


@dataclass(frozen=True, kw_only=True)
class EverydayProblems:
    """Everyday instructions, some with checkable constraints, and demonstrations of good answers.

    Written for this project; the prompts are split, so that none is in both parts.
    """

    outputs: ClassVar[Mapping[str, str]] = {
        "train": "problems",
        "heldout": "problems",
        "demonstrations": "conversations",
        "format_demonstrations": "conversations",
    }

    num_train: int
    num_heldout: int

    def fingerprint(self) -> str:
        """Of the packaged files."""
        return everyday_digest()

    def split(self, seed: int) -> tuple[list[Problem], list[Problem]]:
        """(train, heldout) under a stage's seed."""
        problems = instructions()
        total = self.num_train + self.num_heldout
        require(total <= len(problems), f"num_train + num_heldout: there are {len(problems)}")
        order = rng.stream(seed, "split").permutation(len(problems))[:total]
        chosen = [problems[i] for i in order]
        return chosen[self.num_heldout :], chosen[: self.num_heldout]

    def run(self, ctx: Context) -> None:
        train, heldout = self.split(ctx.seed)
        write_problems(ctx.output("heldout"), heldout)
        write_problems(ctx.output("train"), train)
        write_conversations(ctx.output("demonstrations"), demonstrations())
        write_conversations(ctx.output("format_demonstrations"), format_demonstrations())
        ctx.write_samples(map(_shown, [*heldout, *train][:8]))


def _shown(problem: Problem) -> dict[str, Json]:
    return {"prompt": problem.prompt.last_user, "answer": problem.answer, "meta": problem.meta}


def _digest(folder: Path) -> str:
    """Cheap and all but certain: files up to SAMPLE whole, of larger ones five samples."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for i in range(5 if size > SAMPLE else 1):
                file.seek(i * max(size - SAMPLE, 0) // 4)
                digest.update(file.read(SAMPLE))
    return digest.hexdigest()
