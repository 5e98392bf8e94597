"""Environments written for the `verifiers` library (its v0 form), without that library.

Taken by shape: an object with a `rubric` whose `score_rollout(state)` leaves a reward in the state,
and, for several turns, `is_completed` and `env_response`; each may be async or not.

    env_response(messages, state) -> messages, or (messages, state)
    is_completed(state), or is_completed(messages, state)

Its state is a dict that it changes in place; here each reply works on a copy of its own, so that an
episode's states stay as they were. The rubric is asked after every turn, because any may be the
last: a dear one (a judge) costs accordingly.

Left out: what calls a model by itself, tools by a provider's API, groups scored together, and the
harnesses of the library's v1.
"""

import asyncio
import copy
import functools
import importlib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from burnish.config import require
from burnish.envs.protocol import Opening, Reply
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, Message, Problem, Verdict, conversation_from_json

TASK = "foreign"
Reward = bool | int | float | None


class Rubric(Protocol):
    """Judges a finished episode."""

    def score_rollout(self, state: dict[str, Any]) -> Any:
        """Puts `reward` into the state, or returns it."""


@runtime_checkable
class Rated(Protocol):
    """The least an environment has."""

    @property
    def rubric(self) -> Rubric: ...


@runtime_checkable
class WithTurns(Protocol):
    """One of several turns."""

    def is_completed(self, *given: Any) -> Any: ...

    def env_response(self, messages: list[dict[str, Any]], state: dict[str, Any]) -> Any: ...


@runtime_checkable
class WithSetup(Protocol):
    """One that prepares its state."""

    def setup_state(self, state: dict[str, Any]) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignEnv:
    """Somebody's environment, by name. Its code runs as it is: name only what you trust."""

    target: str
    """`module:attribute`: an environment, or a function that makes one (`load_environment`)."""
    arguments: dict[str, bool | int | float | str] = field(default_factory=dict)
    """For that function."""
    pass_reward: float = 1.0
    """The reward from which on an episode counts as passed."""

    def __post_init__(self) -> None:
        module, colon, attribute = self.target.partition(":")
        require(bool(module and colon and attribute), "target must be `module:attribute`")

    def start(self, problem: Problem, key: int) -> Opening:
        """The row's prompt, and the state as the environment sets it up."""
        del key
        env, row = self.opened(), _row(problem)
        state: dict[str, Any] = {
            "prompt": [m.to_json() for m in problem.prompt.messages],
            "completion": [],
            "answer": problem.answer,
            "task": row.get("task", "default"),
            "info": row.get("info", {}),
            "responses": [],
            "turn": 0,
        }
        if isinstance(env, WithSetup):
            state = _waited(env.setup_state(state)) or state
        return Opening(conversation=problem.prompt, state=state)

    def reply(self, state: object, completion: str) -> Reply:
        """What the environment says, and its rubric's reward as if this turn were the last."""
        assert isinstance(state, dict)
        env, now = self.opened(), copy.deepcopy(state)
        now["completion"].append({"role": "assistant", "content": completion})
        now["turn"] += 1
        verdict = self._verdict(env, now)
        if not isinstance(env, WithTurns) or _completed(env, now):
            return Reply(state=now, verdict=verdict, done=True)
        found = _waited(env.env_response([*now["prompt"], *now["completion"]], now))
        messages, now = found if isinstance(found, tuple) else (found, now)
        replies = _messages(messages)
        now["completion"] += [m.to_json() for m in replies]
        # Some end an episode while they reply.
        done = not replies or _completed(env, now)
        return Reply(state=now, verdict=verdict, done=done, messages=replies)

    def opened(self) -> Rated:
        """The environment. Raises: ConfigError, where `target` names none."""
        return _open(self.target, json.dumps(self.arguments, sort_keys=True))

    def _verdict(self, env: Rated, state: dict[str, Any]) -> Verdict:
        scored = copy.deepcopy(state)
        found = _waited(env.rubric.score_rollout(scored))
        reward: Reward = scored.get("reward")
        if isinstance(found, Mapping):
            reward = found.get("reward", reward)
        elif isinstance(found, int | float):
            reward = found
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            return Verdict(score=None, why="the rubric gave no finite reward", judge=TASK)
        passed = reward >= self.pass_reward
        return Verdict(score=float(reward), passed=passed, judge=TASK)


def foreign_problem(row: Mapping[str, Any], where: str) -> Problem:
    """A row of an environment's data set: `prompt` (messages or text) or `question`, and `answer`,
    `info`, `task`.

    Raises:
        DataError: it has no prompt, or `info` is no JSON; the message starts with `where`.
    """
    prompt = row.get("prompt") or row.get("question")
    if isinstance(prompt, str):
        conversation = Conversation.of(prompt)
    elif isinstance(prompt, Sequence):
        conversation = conversation_from_json({"messages": [dict(m) for m in prompt]}, where)
    else:
        raise DataError(f"{where}: needs `prompt` (messages or text) or `question`")
    kept = {name: row[name] for name in ("info", "task") if row.get(name) is not None}
    try:
        meta = json.dumps(kept)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: `info` cannot be written as JSON ({error})") from error
    answer = row.get("answer")
    text = "" if answer is None else str(answer)
    return Problem(prompt=conversation, task=TASK, answer=text, meta=meta)


@functools.lru_cache(maxsize=8)
def _open(target: str, arguments: str) -> Rated:
    module, _, attribute = target.partition(":")
    try:
        found: Any = vars(importlib.import_module(module))[attribute]
    except ImportError as error:
        raise ConfigError(f"target={target}: cannot be imported ({error})") from error
    except KeyError as error:
        raise ConfigError(f"target={target}: {module} has no {attribute}") from error
    given = json.loads(arguments)
    if inspect.isroutine(found) or inspect.isclass(found):
        found = found(**given)
    elif given:
        raise ConfigError(f"arguments are for a function that makes one; {target} is one")
    if not isinstance(found, Rated):
        raise ConfigError(f"target={target}: {type(found).__name__} has no `rubric`")
    return found


def _row(problem: Problem) -> dict[str, Any]:
    row = json.loads(problem.meta)
    if problem.task != TASK or not isinstance(row, dict):
        raise DataError(
            f"problem {problem.prompt.last_user[:40]!r} is not of a foreign environment; use the "
            "stage foreign_problems with the same env"
        )
    return row


def _completed(env: WithTurns, state: dict[str, Any]) -> bool:
    wanted = inspect.signature(env.is_completed).parameters.values()
    positional = [p for p in wanted if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    messages = [*state["prompt"], *state["completion"]]
    given = (state,) if len(positional) == 1 else (messages, state)
    return bool(_waited(env.is_completed(*given)))


def _messages(found: Any) -> tuple[Message, ...]:
    rows = [{"role": "user", "content": found}] if isinstance(found, str) else list(found or [])
    if not rows:
        return ()
    conversation = conversation_from_json({"messages": [dict(m) for m in rows]}, "env_response")
    return conversation.messages


async def _await(value: Any) -> Any:
    return await value


def _waited(value: Any) -> Any:
    return asyncio.run(_await(value)) if inspect.isawaitable(value) else value
