"""Rows -> Conversations and Problems, with their structure checked.

Recognised by the fields of a row, so that common data sets need no settings:

- conversations: `messages`; `prompt` + `completion`; `instruction` (+ `input`) + `output` or
  `instances`; `question` + `answer`; each but the first with an optional `system`
- problems: `prompt` or `messages` with `answer`, `task`, `meta`; `question` + `answer`, where
  `#### x` ends GSM8K's answers and the prompt then asks for `Answer:`; IFEval's
  `instruction_id_list` and `kwargs`

Rows that are wrong raise; rows that are right but useless are given as a `Drop`, to be counted.
"""

import json
from collections.abc import Mapping
from enum import StrEnum

from burnish.data.ifeval import instructions_from_ifeval
from burnish.data.readers import Row, parse_json
from burnish.errors import DataError
from burnish.types import Conversation, Json, Message, Problem, conversation_from_json

TASK_GSM8K = "gsm8k"
ASK_GSM8K = 'Work it out step by step. End with "Answer:" and the number.'
"""Stands before GSM8K's questions, which ask for no format of their own."""
TASK_INSTRUCTIONS = "instruction_following"


class Drop(StrEnum):
    """Why a well-formed row is not used."""

    EMPTY = "empty"
    IDENTICAL = "identical"
    DIFFERENT_PROMPTS = "different_prompts"
    BAD_TURNS = "bad_turns"
    DUPLICATE = "duplicate"
    CONTRADICTORY = "contradictory"
    UNLABELLED = "unlabelled"


def to_conversations(row: Row) -> list[Conversation | Drop]:
    """Demonstrations for SFT: each ends with an assistant turn. Mostly one a row.

    Raises:
        DataError: naming path:line and the field.
    """
    value, where = row.value, row.where
    if "messages" in value:
        found = [conversation_from_json(value, where)]
    elif "prompt" in value and "completion" in value:
        prompt = prompt_of(value, where)
        completion = value["completion"]
        if isinstance(completion, str):
            found = [prompt.then(completion)]
        else:
            rest = conversation_from_json({"messages": completion}, f"{where}: `completion`")
            found = [Conversation(messages=prompt.messages + rest.messages, tools=prompt.tools)]
    elif "instruction" in value and "instances" in value:
        found = _instances(value, where)
    elif "instruction" in value and "output" in value:
        found = [_instruction(value, value, where)]
    elif "question" in value and "answer" in value:
        found = [
            _with_system(value, where, text_of(value, "question", where)).then(
                text_of(value, "answer", where)
            )
        ]
    else:
        raise DataError(
            f"{where}: no conversation in the fields {', '.join(value) or '(none)'}; use `messages`"
            ", or `prompt` + `completion`, or `instruction` + `output`"
        )
    return [check_demonstration(c, where) for c in found]


def to_text(row: Row) -> str | Drop:
    """A plain text, in the field `text`.

    Raises:
        DataError: naming path:line and the field.
    """
    text = text_of(row.value, "text", row.where)
    return text if text.strip() else Drop.EMPTY


def to_problem(row: Row, *, task: str = "") -> Problem | Drop:
    """A prompt to be answered; `task` is for rows that do not name theirs.

    Raises:
        DataError: naming path:line and the field.
    """
    value, where = row.value, row.where
    answer = _answer(value, where)
    if "question" in value and "prompt" not in value:
        question = text_of(value, "question", where)
        if "####" in answer:
            answer = answer.rpartition("####")[2].strip().replace(",", "")
            task = TASK_GSM8K
            question = f"{ASK_GSM8K}\n{question}" if question.strip() else ""
        prompt = _with_system(value, where, question)
    else:
        prompt = prompt_of(value, where)
    meta = _meta(value, where)
    if "instruction_id_list" in value:
        task = TASK_INSTRUCTIONS  # no other verifier reads them
        meta["instructions"] = [*instructions_from_ifeval(value, where)]
    task = text_of(value, "task", where) if "task" in value else task
    if not task:
        raise DataError(f"{where}: `task` is missing: it names the verifier of the answer")
    check_structure(prompt, where)
    check_prompt_end(prompt, where)
    if _has_empty_turn(prompt):
        return Drop.EMPTY
    return Problem(
        prompt=prompt,
        task=task,
        answer=answer,
        meta=json.dumps(meta, ensure_ascii=False, sort_keys=True),
    )


def prompt_of(value: Mapping[str, Json], where: str) -> Conversation:
    """The prompt of a row: `prompt` as text or as messages, or `messages`."""
    prompt = value.get("prompt", value.get("messages"))
    if isinstance(prompt, str):
        return _with_system(value, where, prompt)
    if prompt is None:
        raise DataError(
            f"{where}: no `prompt` (text or messages) in the fields {', '.join(value) or '(none)'}"
        )
    return conversation_from_json({**value, "messages": prompt}, where)


def text_of(value: Mapping[str, Json], key: str, where: str) -> str:
    """A field that must be text."""
    text = value.get(key)
    if not isinstance(text, str):
        kind = "null" if text is None else type(text).__name__
        raise DataError(f"{where}: `{key}` must be text, not {kind}")
    return text


def check_demonstration(conversation: Conversation, where: str) -> Conversation | Drop:
    """A conversation fit for SFT, or why it is not used.

    Raises:
        DataError: its structure is wrong, or the assistant does not speak last.
    """
    check_structure(conversation, where)
    last = len(conversation.messages) - 1
    if conversation.messages[last].role != "assistant":
        raise DataError(
            f"{where}: messages[{last}].role is {conversation.messages[last].role!r}; a "
            "demonstration must end with the assistant's turn"
        )
    return Drop.EMPTY if _has_empty_turn(conversation) else conversation


def check_prompt_end(prompt: Conversation, where: str) -> None:
    """Pass where it is the assistant's turn next."""
    last = len(prompt.messages) - 1
    if prompt.messages[last].role == "assistant":
        raise DataError(f"{where}: messages[{last}].role is 'assistant'; a prompt ends before it")


def check_structure(conversation: Conversation, where: str) -> None:
    """Pass where the system prompt comes first and once, and tools reply to calls.

    Raises:
        DataError: naming the message.
    """
    previous: Message | None = None
    for i, message in enumerate(conversation.messages):
        if message.role == "system" and i > 0:
            first = conversation.messages[0].role
            what = "a second system message" if first == "system" else "not the first message"
            raise DataError(f"{where}: messages[{i}].role is 'system', {what}; join or move it")
        if message.role == "tool" and (
            previous is None or not (previous.role == "tool" or previous.tool_calls)
        ):
            raise DataError(f"{where}: messages[{i}].role is 'tool', but no tool was called")
        if message.tool_calls and message.role != "assistant":
            raise DataError(f"{where}: messages[{i}].tool_calls: only the assistant calls tools")
        previous = message


def _has_empty_turn(conversation: Conversation) -> bool:
    return any(
        not m.content.strip() and not m.tool_calls and m.role != "tool"
        for m in conversation.messages
    )


def _with_system(value: Mapping[str, Json], where: str, user: str) -> Conversation:
    system = text_of(value, "system", where) if value.get("system") is not None else ""
    return Conversation.of(user, system=system if system.strip() else None)


def _instances(value: Mapping[str, Json], where: str) -> list[Conversation]:
    instances = value["instances"]
    if not isinstance(instances, list) or not instances:
        raise DataError(f"{where}: `instances` must be a non-empty list")
    found = []
    for i, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise DataError(f"{where}: `instances[{i}]` must be an object")
        found.append(_instruction(value, instance, f"{where}: instances[{i}]"))
    return found


def _instruction(
    value: Mapping[str, Json], instance: Mapping[str, Json], where: str
) -> Conversation:
    user = text_of(value, "instruction", where)
    given = text_of(instance, "input", where) if instance.get("input") is not None else ""
    if user.strip() and given.strip():
        user = f"{user}\n\n{given}"
    return _with_system(value, where, user).then(text_of(instance, "output", where))


def _answer(value: Mapping[str, Json], where: str) -> str:
    answer = value.get("answer")
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return json.dumps(answer)
    return "" if answer is None else text_of(value, "answer", where)


def _meta(value: Mapping[str, Json], where: str) -> dict[str, Json]:
    meta = value.get("meta")
    if isinstance(meta, str):
        meta = parse_json(meta, f"{where}: `meta`")
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise DataError(f"{where}: `meta` must be an object, or JSON text of one")
    return dict(meta)
