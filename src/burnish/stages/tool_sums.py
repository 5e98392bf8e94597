"""Products that a small model cannot do in its head, and demonstrations of asking a calculator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import write_conversations, write_problems
from burnish.envs.tool_use import ToolUse, write_call
from burnish.errors import ConfigError
from burnish.pipeline.stage import Context
from burnish.types import Conversation, Message, Problem

TASK = "tool_sum"
"""Checked by the exact answer."""


@dataclass(frozen=True, kw_only=True)
class ToolSums:
    """Products, and episodes in which they are solved with a tool: none is in two of the parts."""

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
    """Of each factor."""

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_heldout", "num_demonstrations")
        require(1 <= self.digits <= 9, "digits must be from 1 to 9")
        require("calculator" in self.env.tools, "env.tools must have the calculator")

    def run(self, ctx: Context) -> None:
        total = self.num_heldout + self.num_train + self.num_demonstrations
        pairs = products(total, seed=ctx.seed, digits=self.digits)
        problems = [_problem(a, b) for a, b in pairs]
        first, last = self.num_heldout, self.num_heldout + self.num_train
        write_problems(ctx.output("heldout"), problems[:first])
        write_problems(ctx.output("train"), problems[first:last])
        shown = [
            demonstration(self.env, problem, f"{a} * {b}")
            for problem, (a, b) in zip(problems[last:], pairs[last:], strict=True)
        ]
        write_conversations(ctx.output("demonstrations"), shown)
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "answer": p.answer, "meta": p.meta} for p in problems[:8]
        )


def products(num: int, *, seed: int, digits: int) -> list[tuple[int, int]]:
    """`num` distinct pairs of factors.

    Raises:
        ConfigError: there are not so many.
    """
    draws = rng.stream(seed, "products")
    found: dict[tuple[int, int], None] = {}
    for _ in range(20 * num):
        a, b = (int(n) for n in draws.integers(10 ** (digits - 1), 10**digits, 2))
        found[a, b] = None
        if len(found) == num:
            return list(found)
    raise ConfigError(f"{len(found)} distinct products were found, {num} asked for; raise digits")


def demonstration(env: ToolUse, problem: Problem, expression: str) -> Conversation:
    """An episode that calls the calculator and gives what it says, as `env` would have it."""
    opening = env.start(problem, 0)
    call = write_call("calculator", expression)
    reply = env.reply(opening.state, call)
    answer = f"Answer: {reply.messages[-1].content}"
    verdict = env.reply(reply.state, answer).verdict
    assert verdict.passed, f"a demonstration that fails: {verdict.why}"
    turns = (Message(role="assistant", content=call), *reply.messages)
    return Conversation(messages=(*opening.conversation.messages, *turns)).then(answer)


def _problem(a: int, b: int) -> Problem:
    return Problem(prompt=Conversation.of(f"What is {a} * {b}?"), task=TASK, answer=str(a * b))
