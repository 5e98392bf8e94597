"""A problem to be solved with tools: the policy may call one a turn, until it answers.

    user       What is 347 * 86?
    assistant  <tool>calculator: 347 * 86</tool>
    tool       29842
    assistant  Answer: 29842

A call is plain text at the end of a turn, one a turn, because small models' chat templates have no
form for tools. It is read strictly: whatever has a part of a call in it and is not one gets an
error for a reply, and is counted. A turn without any is the answer, which the problem's own
verifier judges: the problems may be of any task.

Left out: forms of calls that some templates have of their own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from burnish.config import require
from burnish.envs.calculator import calculate
from burnish.envs.protocol import Opening, Reply
from burnish.envs.python_tool import run_python
from burnish.envs.search_tool import search_folder
from burnish.types import Conversation, Message, Problem, Verdict
from burnish.verifiers.verify import verify_problem

ToolName = Literal["calculator", "python", "search"]
RESULT_CHARACTERS = 600
"""Of a tool's result; what is longer is cut, which the result says."""

_PART = re.compile(r"</?tool\b", re.IGNORECASE)
_CALL = re.compile(r"<tool>([a-z_]+): ((?:(?!</?tool\b).)+)</tool>", re.DOTALL)
_USES: dict[ToolName, str] = {
    "calculator": "calculator: ARITHMETIC gives its value",
    "python": "python: PROGRAM runs it and gives what it printed",
    "search": "search: WORDS gives passages of texts that have them",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A tool and what it is to read."""

    tool: str
    argument: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolUse:
    """Tools, and what using them brings."""

    tools: tuple[ToolName, ...] = ("calculator",)
    folder: str = ""
    """Of the texts that `search` reads (.txt and .md files); nothing outside of it is read."""
    role: Literal["tool", "user"] = "tool"
    """Under which results come back; `user` where the chat template has no role for tools."""
    answer_form: str = 'When you know the answer, write "Answer:" and the answer.'
    """Ends the instructions: what the problems' verifier reads."""
    malformed_penalty: float = 0.0
    """Taken from the score for each turn with a call that cannot be read."""
    call_reward: float = 0.0
    """For each call that a tool could answer. Above 0 it can be had without solving anything."""

    def __post_init__(self) -> None:
        require(bool(self.tools), "tools must name at least one")
        require(len(set(self.tools)) == len(self.tools), "tools names one of them twice")
        needed = "search" in self.tools
        require(not needed or bool(self.folder), "folder must name the texts that `search` reads")
        require(needed or not self.folder, "folder is for the tool `search`, which is not in tools")
        require(self.malformed_penalty >= 0, "malformed_penalty must be at least 0")

    def start(self, problem: Problem, key: int) -> Opening:
        """The problem, with the tools explained in its system message."""
        del key
        return Opening(conversation=self._explained(problem.prompt), state=problem)

    def reply(self, state: object, completion: str) -> Reply:
        """A tool's result, or the verdict on an answer."""
        assert isinstance(state, Problem)
        if not _PART.search(completion):
            return Reply(state=state, verdict=verify_problem(state, completion), done=True)
        call = read_call(completion)
        if call is None:
            form = "end a turn with one call: <tool>NAME: INPUT</tool>"
            return self._back(state, f"error: {form}", "malformed", -self.malformed_penalty)
        try:
            result, kind, reward = self._run(call), "tool_calls", self.call_reward
        except ValueError as error:
            result, kind, reward = f"error: {error}", "tool_errors", 0.0
        return self._back(state, result, kind, reward)

    def _explained(self, prompt: Conversation) -> Conversation:
        uses = "\n".join(_USES[name] for name in self.tools)
        text = f"To use a tool, end with <tool>NAME: INPUT</tool>. Tools:\n{uses}\n"
        text += self.answer_form
        messages = prompt.messages
        if messages[0].role == "system":
            text, messages = f"{messages[0].content}\n\n{text}", messages[1:]
        return Conversation(messages=(Message(role="system", content=text), *messages))

    def _back(self, state: Problem, text: str, kind: str, reward: float) -> Reply:
        return Reply(
            state=state,
            verdict=Verdict(score=0.0, passed=False, why="no answer yet", judge="tool_use"),
            done=False,
            messages=(Message(role=self.role, content=_fitting(text)),),
            reward=reward,
            counts={f"env/{kind}": 1},
        )

    def _run(self, call: Call) -> str:
        """A tool's result. Raises: ValueError, with what the model is told of its mistake."""
        found: dict[str, Callable[[str], str]] = {
            "calculator": calculate,
            "python": run_python,
            "search": lambda words: search_folder(self.folder, words),
        }
        if call.tool not in self.tools:
            raise ValueError(f"no tool of that name; tools: {', '.join(self.tools)}")
        return found[call.tool](call.argument)


def read_call(completion: str) -> Call | None:
    """The call that a turn ends with; None where it is malformed, or not the only one."""
    text = completion.rstrip()
    found = list(_CALL.finditer(text))
    if len(found) != 1 or found[0].end() != len(text) or len(_PART.findall(text)) != 2:
        return None
    return Call(tool=found[0][1], argument=found[0][2])


def write_call(tool: str, argument: str) -> str:
    """A call as a model is to write it."""
    return f"<tool>{tool}: {argument}</tool>"


def _fitting(text: str) -> str:
    if len(text) <= RESULT_CHARACTERS:
        return text
    return f"{text[:RESULT_CHARACTERS]} [cut after {RESULT_CHARACTERS} characters]"
