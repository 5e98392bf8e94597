"""Self-Instruct: a model writes new instructions after the pattern of a few that people wrote.

Wang et al. 2022, arXiv 2212.10560, section 3.1: eight tasks are shown, six of people's and two of
the model's own, and the list goes on; what is too like a task of the pool, too short, too long, or
about what a text model cannot do, is left out. Then it is asked of each whether it is a
classification. Left out here: instances. Sampling answers to the problems is another stage's work.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.readers import read_rows
from burnish.data.schema import text_of
from burnish.data.store import write_problems
from burnish.errors import ConfigError, DataError
from burnish.evals.rouge import more_alike, words
from burnish.pipeline.stage import Context
from burnish.stages.judging import asking, open_chat, tally_usage
from burnish.types import Conversation, Problem
from burnish.verifiers.answer_cache import CachedChat
from burnish.verifiers.chat import Answer, OnAnswer, Question
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge_reward import LocalModel

BANNED = (
    "image", "images", "picture", "pictures", "photo", "photos", "video", "audio", "graph",
    "graphs", "plot", "draw", "map", "maps", "file", "files", "website", "click",
)  # fmt: skip
"""What a model that reads and writes text cannot do; the idea is the paper's, the list is ours."""
_ITEM = re.compile(r"^\W{0,3}(?:task\s*)?\d{1,3}\s*[:.)]\s*", re.IGNORECASE | re.MULTILINE)
_YES_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedTask:
    """An instruction of the pool."""

    instruction: str
    is_classification: bool | None
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SelfInstruct:
    """Seed tasks -> problems: new instructions, without answers."""

    outputs: ClassVar[Mapping[str, str]] = {"problems": "problems"}

    by: Endpoint | LocalModel
    """Who writes."""
    seeds: str
    """A file with `instruction` and `is_classification` (true or false) in each row."""
    num_instructions: int
    """Wanted; fewer, and counted, if `max_rounds` does not give them."""
    shown_human: int = 6
    """Of people's tasks in a prompt."""
    shown_generated: int = 2
    """Of the model's own, as soon as there are any; people's stand in for those that lack."""
    prompts_per_round: int = 8
    """Asked together: what they find is shown from the next round on."""
    max_rounds: int = 50
    max_similarity: float = 0.7
    """ROUGE-L with every task of the pool must be below."""
    min_words: int = 4
    max_words: int = 150
    banned_words: tuple[str, ...] = BANNED
    """An instruction with one of them is left out."""
    temperature: float = 0.7
    max_tokens: int = 512
    task: str = "self_instruct"
    """Of the problems that are made; they have no answer, so none can be scored by a verifier."""

    def __post_init__(self) -> None:
        require_counts(
            self, "num_instructions", "shown_human", "prompts_per_round", "max_rounds", "min_words"
        )
        require(self.shown_generated >= 0, "shown_generated must be at least 0")
        require(0 < self.max_similarity <= 1, "max_similarity must be in (0, 1]")
        require(self.max_words >= self.min_words, "max_words must be at least min_words")
        require(0 <= self.temperature <= 2, "temperature must be from 0 to 2")
        require(self.max_tokens >= 16, "max_tokens must be at least 16")
        require(bool(self.seeds) and bool(self.task), "seeds and task must be given")

    def fingerprint(self) -> str:
        """Of the seeds."""
        try:
            return hashlib.sha256(Path(self.seeds).read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"seeds={self.seeds}: cannot be read ({error.strerror})") from error

    def run(self, ctx: Context) -> None:
        seeds = read_seeds(Path(self.seeds))
        if len(seeds) < self.shown_human:
            raise DataError(
                f"{self.seeds}: {len(seeds)} seed tasks, and shown_human={self.shown_human} go "
                "into a prompt; add seeds"
            )
        chat = open_chat(ctx, self.by)
        on_answer = asking(ctx, self.max_rounds * self.prompts_per_round)
        made: list[SeedTask] = []
        tally: Counter[str] = Counter()
        for number in range(self.max_rounds):
            if len(made) >= self.num_instructions:
                break
            self._round(ctx.seed, number, seeds, made, tally, chat, on_answer)
        del made[self.num_instructions :]
        candidates = tally.pop("candidates", 0)
        for reason in (
            "too short",
            "too long",
            "banned word",
            "no words at its start",
            "too alike",
        ):
            ctx.count(f"candidates left out: {reason}", tally[reason], candidates)
        ctx.count("answers without a list", tally["no list"], chat.usage.asked + chat.usage.cached)
        ctx.count("last items of answers cut short", tally["cut"], candidates)
        if not made:
            raise DataError(f"none of {candidates} candidates is a new instruction; see the counts")
        missing = self.num_instructions - len(made)
        ctx.count("instructions asked for and not found", missing, self.num_instructions)
        kinds = self._kinds(ctx.seed, seeds, made, chat)
        unread = sum(kind is None for kind in kinds)
        ctx.count("instructions of which it is not known if they classify", unread, len(made))
        tally_usage(ctx, chat, self.by)
        write_problems(
            ctx.output("problems"),
            [
                Problem(
                    prompt=Conversation.of(item.instruction),
                    task=self.task,
                    meta=json.dumps(
                        {"is_classification": kind, "source": f"written by {chat.name}"}
                    ),
                )
                for item, kind in zip(made, kinds, strict=True)
            ],
        )
        ctx.write_samples({"prompt": item.instruction} for item in made[:12])

    def _round(
        self,
        seed: int,
        number: int,
        seeds: Sequence[SeedTask],
        made: list[SeedTask],
        tally: Counter[str],
        chat: CachedChat,
        on_answer: OnAnswer,
    ) -> None:
        """Ask for more, and add what passes to `made`, in the order of the prompts."""
        questions = []
        for i in range(self.prompts_per_round):
            key = rng.key(seed, "write", number, i)
            own = _drawn(key, "own", made, self.shown_generated)
            human = _drawn(key, "human", seeds, self.shown_human + self.shown_generated - len(own))
            shown = [*human, *own]
            order = rng.stream(key, "order").permutation(len(shown))
            text = list_prompt([shown[j].instruction for j in order])
            questions.append(self._question(text, key))
        for answer in chat.ask_all(questions, on_answer=on_answer):
            items, cut = listed(answer, self.max_tokens)
            tally["cut"] += cut
            tally["no list"] += not items
            for text in items:
                tally["candidates"] += 1
                item = _task(text)
                wrong = self._wrong(item, [*seeds, *made])
                if wrong:
                    tally[wrong] += 1
                else:
                    made.append(item)

    def _wrong(self, item: SeedTask, pool: Sequence[SeedTask]) -> str:
        """Why an instruction is left out; "" where it is not."""
        if len(item.words) < self.min_words:
            return "too short"
        if len(item.words) > self.max_words:
            return "too long"
        if not item.instruction[0].isalnum():
            return "no words at its start"
        if not set(self.banned_words).isdisjoint(item.words):
            return "banned word"
        alike = any(more_alike(item.words, other.words, self.max_similarity) for other in pool)
        return "too alike" if alike else ""

    def _kinds(
        self, seed: int, seeds: Sequence[SeedTask], made: Sequence[SeedTask], chat: CachedChat
    ) -> list[bool | None]:
        """Whether each is a classification; None where no answer can be read."""
        questions = []
        for item in made:
            key = rng.key(seed, "kind", item.instruction)
            shown = [
                task
                for kind in (True, False)
                for task in _drawn(
                    key, str(kind), [s for s in seeds if s.is_classification is kind], 4
                )
            ]
            order = rng.stream(key, "order").permutation(len(shown))
            text = kind_prompt([shown[i] for i in order], item.instruction)
            questions.append(Question.of(text, seed=0, temperature=0.0, max_tokens=16))
        answers = chat.ask_all(questions)
        matches = [_YES_NO.match(answer.text) for answer in answers]
        return [None if m is None else m[1].lower() == "yes" for m in matches]

    def _question(self, text: str, key: int) -> Question:
        return Question.of(text, seed=key, temperature=self.temperature, max_tokens=self.max_tokens)


def read_seeds(path: Path) -> list[SeedTask]:
    """The tasks that people wrote.

    Raises:
        DataError: a row is wrong; names path:line.
    """
    found = []
    for row in read_rows(path).rows:
        kind = row.value.get("is_classification")
        if kind is not None and not isinstance(kind, bool):
            raise DataError(f"{row.where}: `is_classification` must be true or false")
        item = _task(text_of(row.value, "instruction", row.where))
        if not item.words:
            raise DataError(f"{row.where}: `instruction` is empty")
        found.append(replace(item, is_classification=kind))
    return found


def list_prompt(instructions: Sequence[str]) -> str:
    """Tasks as a numbered list that is to be continued."""
    start = len(instructions) + 1
    shown = "\n".join(f"Task {i}: {text}" for i, text in enumerate(instructions, 1))
    return (
        "Here are tasks that one may give to an assistant which reads and writes text:\n\n"
        f"{shown}\n\nGo on with the list: write eight more tasks, as different from these and from "
        f"one another as you can, each on a line that begins with `Task {start}:`, "
        f"`Task {start + 1}:` and so on. Write the list and nothing else."
    )


def kind_prompt(shown: Sequence[SeedTask], instruction: str) -> str:
    """Asks whether an instruction is a classification."""
    examples = "\n\n".join(
        f"Task: {task.instruction}\nClassification: {'yes' if task.is_classification else 'no'}"
        for task in shown
    )
    return (
        "A task is a classification if its answer is one of a few labels. Say yes or no.\n\n"
        f"{examples}\n\nTask: {instruction}\nClassification:"
    )


def listed(answer: Answer, max_tokens: int) -> tuple[list[str], int]:
    """The items of a numbered list, and 1 if its last one was cut off and left out."""
    parts = _ITEM.split(answer.text)[1:]
    items = [" ".join(_ITEM.sub("", part, count=1).split()) for part in parts]
    cut = bool(items) and (answer.completion_tokens or 0) >= max_tokens
    if cut:
        items.pop()
    return [item for item in items if item], int(cut)


def _task(text: str) -> SeedTask:
    clean = " ".join(text.split())
    return SeedTask(instruction=clean, is_classification=None, words=tuple(words(clean)))


def _drawn(key: int, name: str, pool: Sequence[SeedTask], num: int) -> list[SeedTask]:
    """`num` of the pool at random, or all of a smaller one."""
    return [pool[i] for i in rng.stream(key, name).permutation(len(pool))[:num]]
