"""Sums that a small model cannot do in its head, and demonstrations of asking a calculator.

    asked        A crate holds 347 bolts. How many bolts are in 86 crates?
    shown        What is 512 * 73?      ->  a call, its result, an answer

Most demonstrations show how to ask, on sums that are given as formulas. What the problems ask for
is told in words: making a formula of them is left for reinforcement learning to find.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import write_conversations, write_problems
from burnish.envs.calculator import calculate
from burnish.envs.tool_use import ToolUse, write_call
from burnish.errors import ConfigError
from burnish.pipeline.stage import Context
from burnish.types import Conversation, Message, Problem

TASK = "tool_sum"
"""Checked by the exact answer."""
FORMS = (
    ("A crate holds {a} bolts. How many bolts are in {b} crates?", "{a} * {b}"),
    ("A farm has {a} hens and buys {b} more. How many hens has it then?", "{a} + {b}"),
    ("A tank held {a} litres, and {b} were drawn off. How many litres are left?", "{a} - {b}"),
    ("A hall has {a} rows of {b} seats, and {c} seats more. How many seats?", "{a} * {b} + {c}"),
    ("Of {a} boxes of {b} pens each, {c} pens are lost. How many are left?", "{a} * {b} - {c}"),
    ("A road of {a} miles, one of {b} and one of {c}: how many miles?", "{a} + {b} + {c}"),
)
"""In words, and as a formula."""


class Sum(NamedTuple):
    """One sum, in words and as a formula."""

    words: str
    formula: str


@dataclass(frozen=True, kw_only=True)
class ToolSums:
    """Sums in words, and episodes that solve formulas with a tool: none is in two of the parts."""

    outputs: ClassVar[Mapping[str, str]] = {
        "train": "problems",
        "heldout": "problems",
        "demonstrations": "conversations",
    }

    num_train: int
    num_heldout: int
    num_demonstrations: int
    env: ToolUse = ToolUse()
    """The same as that of the stages that play: what the demonstrations show."""
    digits: int = 3
    """Of each number."""
    worded: float = 0.1
    """Share of the demonstrations that are asked in words."""

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_heldout", "num_demonstrations")
        require(1 <= self.digits <= 9, "digits must be from 1 to 9")
        require(0 <= self.worded <= 1, "worded must be from 0 to 1")
        require("calculator" in self.env.tools, "env.tools must have the calculator")

    def run(self, ctx: Context) -> None:
        total = self.num_heldout + self.num_train + self.num_demonstrations
        found = sums(total, seed=ctx.seed, digits=self.digits)
        asked = [_problem(one.words, one.formula) for one in found]
        first, last = self.num_heldout, self.num_heldout + self.num_train
        write_problems(ctx.output("heldout"), asked[:first])
        write_problems(ctx.output("train"), asked[first:last])
        left = found[last:]
        in_words = round(self.worded * len(left))
        shown = [demonstration(self.env, one, in_words=i < in_words) for i, one in enumerate(left)]
        write_conversations(ctx.output("demonstrations"), shown)
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "answer": p.answer, "meta": p.meta} for p in asked[:8]
        )


def sums(num: int, *, seed: int, digits: int) -> list[Sum]:
    """`num` distinct sums, of all forms about equally.

    Raises:
        ConfigError: there are not so many.
    """
    draws = rng.stream(seed, "tool sums")
    found: dict[Sum, None] = {}
    for _ in range(20 * num):
        words, formula = FORMS[int(draws.integers(len(FORMS)))]
        # The largest first, so that nothing goes below zero.
        drawn = draws.integers(10 ** (digits - 1), 10**digits, 3).tolist()
        a, b, c = sorted((int(n) for n in drawn), reverse=True)
        numbers = {"a": a, "b": b, "c": c}
        found[Sum(words.format(**numbers), formula.format(**numbers))] = None
        if len(found) == num:
            return list(found)
    raise ConfigError(f"{len(found)} distinct sums were found, {num} asked for; raise digits")


def demonstration(env: ToolUse, one: Sum, *, in_words: bool) -> Conversation:
    """An episode that calls the calculator and gives what it says, as `env` would have it."""
    question = one.words if in_words else f"What is {one.formula}?"
    opening = env.start(_problem(question, one.formula), 0)
    call = write_call("calculator", one.formula)
    reply = env.reply(opening.state, call)
    answer = f"Answer: {reply.messages[-1].content}"
    verdict = env.reply(reply.state, answer).verdict
    assert verdict.passed, f"a demonstration that fails: {verdict.why}"
    turns = (Message(role="assistant", content=call), *reply.messages)
    return Conversation(messages=(*opening.conversation.messages, *turns)).then(answer)


def _problem(question: str, formula: str) -> Problem:
    return Problem(prompt=Conversation.of(question), task=TASK, answer=calculate(formula))
