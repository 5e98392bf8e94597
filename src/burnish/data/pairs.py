"""Rows -> PreferencePairs. Recognised are

- `chosen` and `rejected` as text, with `prompt` as text, as messages, or as an HH transcript
- `chosen` and `rejected` as messages that share all but the last one
- HH transcripts, which begin with "\\n\\nHuman:", with the common turns as the prompt
- ranked lists: `prompt`, `completions`, `ranks` (1 is best; equal ranks give no pair)
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise

from burnish.data.readers import Row
from burnish.data.schema import Drop, check_prompt_end, check_structure, prompt_of, text_of
from burnish.errors import DataError
from burnish.types import (
    Conversation,
    Json,
    Message,
    PreferencePair,
    content_hash,
    conversation_from_json,
)

_TURN = re.compile(r"\n\n(Human|Assistant):")


def to_pairs(row: Row) -> list[PreferencePair | Drop]:
    """The pairs of a row: one, or all those that a ranked list implies.

    Raises:
        DataError: naming path:line and the field.
    """
    value, where = row.value, row.where
    if "completions" in value:
        return _ranked(value, where)
    chosen, rejected = (value.get(side) for side in ("chosen", "rejected"))
    for side, given in (("chosen", chosen), ("rejected", rejected)):
        if given is None:
            raise DataError(f"{where}: `{side}` is missing; a pair needs `chosen` and `rejected`")
    if isinstance(chosen, list) and isinstance(rejected, list):
        return [_from_messages(value, where)]
    left, right = text_of(value, "chosen", where), text_of(value, "rejected", where)
    if value.get("prompt") is not None:
        return [_pair(_prompt(value, where), left, right, value, where)]
    if not left.startswith("\n\nHuman:"):
        raise DataError(f"{where}: `prompt` is missing, and `chosen` is no transcript")
    return [_from_transcripts(left, right, value, where)]


def settle(
    pairs: Iterable[PreferencePair], *, keep_contradictions: bool = False
) -> tuple[list[PreferencePair], Counter[Drop]]:
    """Each pair once; where both orders of two completions occur, neither, unless kept."""
    unique: dict[str, PreferencePair] = {}
    drops: Counter[Drop] = Counter()
    for pair in pairs:
        key = content_hash(pair.prompt.id, pair.chosen, pair.rejected)
        drops[Drop.DUPLICATE] += key in unique
        unique.setdefault(key, pair)
    if keep_contradictions:
        return list(unique.values()), drops
    kept = []
    for pair in unique.values():
        if content_hash(pair.prompt.id, pair.rejected, pair.chosen) in unique:
            drops[Drop.CONTRADICTORY] += 1
        else:
            kept.append(pair)
    return kept, drops


def _pair(
    prompt: Conversation, chosen: str, rejected: str, value: Mapping[str, Json], where: str
) -> PreferencePair | Drop:
    check_structure(prompt, where)
    check_prompt_end(prompt, where)
    if any(not text.strip() for text in (prompt.last_user, chosen, rejected)):
        return Drop.EMPTY
    if chosen.strip() == rejected.strip():
        return Drop.IDENTICAL
    margin = value.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, (int, float))):
        raise DataError(f"{where}: `margin` must be a number")
    return PreferencePair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        source=text_of(value, "source", where) if value.get("source") is not None else "",
        margin=None if margin is None else float(margin),
    )


def _prompt(value: Mapping[str, Json], where: str) -> Conversation:
    prompt = value["prompt"]
    if isinstance(prompt, str) and prompt.startswith("\n\nHuman:"):
        turns = _turns(prompt.rstrip().removesuffix("\n\nAssistant:"))
        if turns is None or turns[-1].role == "assistant":
            raise DataError(f"{where}: `prompt` is a transcript whose turns do not alternate")
        return Conversation(messages=tuple(turns))
    return prompt_of(value, where)


def _from_messages(value: Mapping[str, Json], where: str) -> PreferencePair | Drop:
    sides = []
    for side in ("chosen", "rejected"):
        conversation = conversation_from_json(
            {"messages": value[side], "tools": value.get("tools")}, f"{where}: `{side}`"
        )
        last = conversation.messages[-1]
        if last.role != "assistant":
            raise DataError(f"{where}: `{side}` must end with the assistant's turn")
        if last.tool_calls:
            raise DataError(f"{where}: `{side}` ends with a tool call; pairs compare text")
        sides.append(conversation)
    chosen, rejected = sides
    before = chosen.messages[:-1]
    if before != rejected.messages[:-1]:
        return Drop.DIFFERENT_PROMPTS
    if before:
        prompt = Conversation(messages=before, tools=chosen.tools)
    elif value.get("prompt") is not None:
        prompt = _prompt(value, where)
    else:
        raise DataError(f"{where}: `prompt` is missing, and `chosen` has no turn before the answer")
    return _pair(prompt, chosen.messages[-1].content, rejected.messages[-1].content, value, where)


def _from_transcripts(
    left: str, right: str, value: Mapping[str, Json], where: str
) -> PreferencePair | Drop:
    chosen, rejected = _turns(left), _turns(right)
    if chosen is None or rejected is None:
        return Drop.BAD_TURNS
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        return Drop.BAD_TURNS
    if chosen[:-1] != rejected[:-1]:
        return Drop.DIFFERENT_PROMPTS
    prompt = Conversation(messages=tuple(chosen[:-1]))
    return _pair(prompt, chosen[-1].content, rejected[-1].content, value, where)


def _turns(transcript: str) -> list[Message] | None:
    """The turns of a transcript; None where two in a row have the same speaker."""
    parts = _TURN.split(transcript)
    speakers, texts = parts[1::2], parts[2::2]
    if parts[0].strip() or any(a == b for a, b in pairwise(speakers)):
        return None
    return [
        Message(role="user" if speaker == "Human" else "assistant", content=text.strip())
        for speaker, text in zip(speakers, texts, strict=True)
    ]


def _ranked(value: Mapping[str, Json], where: str) -> list[PreferencePair | Drop]:
    completions, ranks = value["completions"], value.get("ranks")
    if not isinstance(completions, list) or not isinstance(ranks, list):
        raise DataError(f"{where}: `completions` and `ranks` must be lists")
    if len(completions) != len(ranks) or len(ranks) < 2:
        raise DataError(
            f"{where}: {len(completions)} completions and {len(ranks)} ranks; give one rank a "
            "completion, and two or more"
        )
    found: list[tuple[float, str]] = []
    for i, (text, rank) in enumerate(zip(completions, ranks, strict=True)):
        if not isinstance(text, str):
            raise DataError(f"{where}: `completions[{i}]` must be text")
        if isinstance(rank, bool) or not isinstance(rank, (int, float)):
            raise DataError(f"{where}: `ranks[{i}]` must be a number, 1 for the best")
        found.append((rank, text))
    if value.get("prompt") is None:
        raise DataError(f"{where}: `prompt` is missing")
    prompt = _prompt(value, where)
    return [
        _pair(prompt, *((a, b) if first < second else (b, a)), value, where)
        for (first, a), (second, b) in combinations(found, 2)
        if first != second
    ]
