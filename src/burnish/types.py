"""The nouns that every layer shares: conversations, problems, completions, verdicts, comparisons.

All are immutable and know neither torch nor files. `to_json`/`from_json` define the one JSON form
each has on disk, so that a stage's output can be read by any other stage, by people, and by tests.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from burnish.errors import DataError

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


def content_hash(*parts: str) -> str:
    """16 hex digits of SHA-256 over the parts, each prefixed by its length."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """An assistant's request to run a tool; `arguments` is JSON text."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool the assistant may call; `parameters` is a JSON Schema as text."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn. `name` and `tool_call_id` are for role "tool"."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def to_json(self) -> dict[str, Json]:
        row: dict[str, Json] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            row["tool_calls"] = [
                {
                    "id": c.id,
                    "type": "function",
                    "function": {"name": c.name, "arguments": c.arguments},
                }
                for c in self.tool_calls
            ]
        if self.tool_call_id is not None:
            row["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            row["name"] = self.name
        return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Messages in order, and the tools on offer. Structure is checked by `data.schema`."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @classmethod
    def of(
        cls, user: str, assistant: str | None = None, *, system: str | None = None
    ) -> "Conversation":
        """The common case: one user turn, with an optional system message and answer."""
        messages = [] if system is None else [Message(role="system", content=system)]
        messages.append(Message(role="user", content=user))
        if assistant is not None:
            messages.append(Message(role="assistant", content=assistant))
        return cls(messages=tuple(messages))

    def then(self, assistant: str) -> "Conversation":
        """This conversation with one more assistant turn."""
        answer = Message(role="assistant", content=assistant)
        return Conversation(messages=(*self.messages, answer), tools=self.tools)

    @property
    def id(self) -> str:
        """A hash of the content: splits and random streams follow it."""
        return content_hash(json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False))

    @property
    def last_user(self) -> str:
        """The text of the last user turn ("" if none)."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def text(self) -> str:
        """All turns' text, one below the other: for looking up what was said."""
        return "\n".join(m.content for m in self.messages)

    def to_json(self) -> dict[str, Json]:
        row: dict[str, Json] = {"messages": [m.to_json() for m in self.messages]}
        if self.tools:
            row["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": t.name,
                        "description": t.description,
                        "parameters": json.loads(t.parameters),
                    },
                }
                for t in self.tools
            ]
        return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A prompt with what is needed to check an answer.

    `task` names the verifier (e.g. "arithmetic", "instruct"); `answer` is the reference (""
    where the task has none); `meta` holds what else the verifier reads, as JSON text.
    """

    prompt: Conversation
    task: str
    answer: str = ""
    meta: str = "{}"

    @property
    def id(self) -> str:
        """A hash of task, prompt and answer; of `meta` too where that holds the tests of code.

        Other `meta` says how an answer is checked that prompt and answer already tell apart.
        """
        tests = (self.meta,) if '"tests"' in self.meta else ()
        return content_hash(self.task, self.prompt.id, self.answer, *tests)


class Finish(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL = "tool"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a sampler made of one prompt.

    `tokens` includes the stop token when `finish` is STOP. `logprobs` are those of the distribution
    that was sampled from (after temperature and truncation), one a token.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    policy_version: int
    seed: int
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One judgement of one completion, by a verifier, reward model, AI judge or person.

    `score` None means it could not be scored: advantage zero, left out of every mean.
    """

    score: float | None
    passed: bool | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    judge: str = ""


Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A raw annotation event, as it happened: append-only."""

    prompt: Conversation
    a: str
    b: str
    winner: Winner
    annotator: str
    seconds: float = 0.0
    shown_order: Literal["ab", "ba"] = "ab"


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePair:
    """Derived from Comparisons by a pure function: what losses train on."""

    prompt: Conversation
    chosen: str
    rejected: str
    source: str = ""
    margin: float | None = None
    """How much better the chosen one was said to be."""
    shown_first: Literal["chosen", "rejected"] | None = None
    """Which one the annotator saw first; None: not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """A completion rated on named attributes, such as helpfulness: for regression."""

    prompt: Conversation
    completion: str
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkedAnswer:
    """A completion in steps, each labelled right (1), wrong (0), in between, or not at all."""

    prompt: Conversation
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]


def conversation_from_json(row: Mapping[str, Json], where: str) -> Conversation:
    """The inverse of `Conversation.to_json`.

    Raises:
        DataError: a field is missing or has the wrong type; the message starts with `where`.
    """
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: `messages` must be a non-empty list")
    tools = row.get("tools") or []
    if not isinstance(tools, list):
        raise DataError(f"{where}: `tools` must be a list")
    return Conversation(
        messages=tuple(_message(m, f"{where}: messages[{i}]") for i, m in enumerate(messages)),
        tools=tuple(_tool(t, f"{where}: tools[{i}]") for i, t in enumerate(tools)),
    )


def _message(raw: Json, where: str) -> Message:
    if not isinstance(raw, dict):
        raise DataError(f"{where} must be an object with `role` and `content`")
    role, content = raw.get("role"), raw.get("content")
    if role not in ROLES:
        raise DataError(f"{where}.role is {role!r}; use one of {', '.join(ROLES)}")
    calls_raw = raw.get("tool_calls") or []
    if not isinstance(calls_raw, list):
        raise DataError(f"{where}.tool_calls must be a list")
    calls = tuple(_tool_call(c, f"{where}.tool_calls[{i}]") for i, c in enumerate(calls_raw))
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise DataError(f"{where}.content must be text, not {type(content).__name__}")
    return Message(
        role=role,
        content=content,
        tool_calls=calls,
        tool_call_id=_optional_text(raw, "tool_call_id", where),
        name=_optional_text(raw, "name", where),
    )


def _tool_call(raw: Json, where: str) -> ToolCall:
    function = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(function, dict):
        raise DataError(f"{where} must be an object with `function`")
    name, arguments = function.get("name"), function.get("arguments", "{}")
    if not isinstance(name, str):
        raise DataError(f"{where}.function.name must be text")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(name=name, arguments=arguments, id=_optional_text(raw, "id", where) or "")


def _tool(raw: Json, where: str) -> Tool:
    function = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(f"{where} must be an object with a `function` that has a `name`")
    return Tool(
        name=str(function["name"]),
        description=str(function.get("description", "")),
        parameters=json.dumps(function.get("parameters", {}), ensure_ascii=False, sort_keys=True),
    )


def _optional_text(raw: Mapping[str, Json], key: str, where: str) -> str | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}.{key} must be text")
    return value


def mean(values: Sequence[float]) -> float:
    """The mean; NaN for no values, so that an empty metric is seen rather than read as zero."""
    return sum(values) / len(values) if values else float("nan")
