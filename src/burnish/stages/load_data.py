"""The stage that brings a user's own data into a run."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

from burnish.config import require
from burnish.data.load import (
    load_conversations,
    load_pairs,
    load_problems,
    load_ratings,
    load_steps,
    load_texts,
)
from burnish.data.splits import prompt_key, split
from burnish.data.store import (
    write_conversations,
    write_pairs,
    write_problems,
    write_ratings,
    write_steps,
    write_texts,
)
from burnish.errors import DataError
from burnish.pipeline.stage import Context
from burnish.types import (
    Conversation,
    PreferencePair,
    Problem,
    Rating,
    WorkedAnswer,
    content_hash,
)

Item = TypeVar("Item", Conversation, PreferencePair, Problem, Rating, WorkedAnswer, str)
HUB = "hub:"


@dataclass(frozen=True, kw_only=True)
class LoadData:
    """A file -> conversations, texts, pairs, problems, ratings or steps; held-out prompts apart if
    asked.

    What the rows may look like stands in docs/data.md. Every row that is not used is counted.
    """

    path: str
    """A .jsonl, .jsonl.gz, .json, .csv or .parquet file, or `hub:owner/name[:split]`."""
    kind: Literal["conversations", "texts", "pairs", "problems", "ratings", "steps"]
    """Of the outputs: `train`, and `heldout` where `heldout` is given."""
    heldout: float | int | None = None
    """A share of the prompts (0.1), or the least number of rows (100), kept out of `train`."""
    skip_bad: bool = False
    """Count rows that are wrong, instead of refusing the file."""
    task: str = ""
    """For problems whose rows name none: the scores are shown under it."""

    def __post_init__(self) -> None:
        require(bool(self.path), "path must name a file")
        require(not isinstance(self.heldout, bool), "heldout must be a share or a number of rows")
        if isinstance(self.heldout, float):
            require(0 < self.heldout < 1, "heldout as a share must be between 0 and 1, exclusive")
        elif self.heldout is not None:
            require(self.heldout >= 1, "heldout must be at least 1 row, or a share such as 0.1")
        require(not self.task or self.kind == "problems", "task is for kind: problems")

    @property
    def outputs(self) -> Mapping[str, str]:
        parts = ("train",) if self.heldout is None else ("train", "heldout")
        return dict.fromkeys(parts, self.kind)

    def fingerprint(self) -> str:
        """Of the file's content; what a hub holds is only known once it was fetched."""
        if self.path.startswith(HUB):
            return ""
        try:
            with Path(self.path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error

    def run(self, ctx: Context) -> None:
        match self.kind:
            case "conversations":
                found = load_conversations(self.path, skip_bad=self.skip_bad)
                self._write(ctx, *found, write_conversations, _conversation)
            case "texts":
                texts = load_texts(self.path, skip_bad=self.skip_bad)
                self._write(ctx, *texts, write_texts, _text)
            case "pairs":
                pairs = load_pairs(self.path, skip_bad=self.skip_bad)
                self._write(ctx, *pairs, write_pairs, _pair)
            case "problems":
                problems = load_problems(self.path, task=self.task, skip_bad=self.skip_bad)
                self._write(ctx, *problems, write_problems, _problem)
            case "ratings":
                ratings = load_ratings(self.path, skip_bad=self.skip_bad)
                self._write(ctx, *ratings, write_ratings, _rating)
            case "steps":
                steps = load_steps(self.path, skip_bad=self.skip_bad)
                self._write(ctx, *steps, write_steps, _worked)
            case _:
                assert_never(self.kind)

    def _write(
        self,
        ctx: Context,
        items: Sequence[Item],
        counts: Mapping[str, int],
        write: Callable[[Path, Iterable[Item]], int],
        shown: Callable[[Item], dict[str, Any]],
    ) -> None:
        for reason, number in counts.items():
            if reason not in ("rows", "used"):
                ctx.count(f"dropped: {reason.replace('_', ' ')}", number, counts["rows"])
        train = list(items)
        if self.heldout is not None:
            train, held = split(train, key=_key, heldout=self.heldout, seed=ctx.seed)
            write(ctx.output("heldout"), held)
            ctx.tally(f"{self.kind} held out", len(held))
        write(ctx.output("train"), train)
        ctx.tally(f"{self.kind} to train on", len(train))
        ctx.write_samples(map(shown, train[:8]))


def _key(item: Conversation | PreferencePair | Problem | Rating | WorkedAnswer | str) -> str:
    """What is on one side of a split: all that has one prompt; a text goes by itself."""
    return content_hash(item) if isinstance(item, str) else prompt_key(item)


def _text(item: str) -> dict[str, Any]:
    return {"prompt": "", "completion": item}


def _conversation(item: Conversation) -> dict[str, Any]:
    return {"prompt": item.last_user, "completion": item.messages[-1].content}


def _pair(item: PreferencePair) -> dict[str, Any]:
    return {"prompt": item.prompt.last_user, "chosen": item.chosen, "rejected": item.rejected}


def _problem(item: Problem) -> dict[str, Any]:
    return {"prompt": item.prompt.last_user, "answer": item.answer, "meta": item.meta}


def _rating(item: Rating) -> dict[str, Any]:
    return {"prompt": item.prompt.last_user, "completion": item.completion, **item.values}


def _worked(item: WorkedAnswer) -> dict[str, Any]:
    return {"prompt": item.prompt.last_user, "steps": item.steps, "labels": item.labels}
