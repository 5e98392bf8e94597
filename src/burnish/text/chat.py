"""Conversation -> token ids and train mask: the only file that knows chat templates.

Works with any Hugging Face template, tools included, without `{% generation %}` marks: the span of
an assistant turn is found by rendering prefixes of the conversation, or, where the template
rewrites earlier turns, by rendering with that turn's content swapped for a sentinel.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple

from transformers import PreTrainedTokenizerFast

from burnish.errors import DataError, TemplateError
from burnish.text.control import ControlToken, codec_for
from burnish.text.tokenizer import TEMPLATE_FAILURES, require_chat_template, stop_ids
from burnish.text.tokenizer import turn_end as turn_end
from burnish.types import Conversation, Json, Message

TrainOn = Literal["assistant", "last", "all"]

_PROBE = "\ufdde"
_VISIBLE = {i: 0x2400 + i for i in range(32) if chr(i) not in "\n\t"} | {0x7F: 0x2421}


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A conversation as tokens; `mask[i]` says that token i is a label to be trained."""

    ids: tuple[int, ...]
    mask: tuple[bool, ...]


class _Span(NamedTuple):
    start: int
    end: int


def encode(
    conversation: Conversation, tokenizer: PreTrainedTokenizerFast, train_on: TrainOn = "assistant"
) -> Encoded:
    """The ids that `apply_chat_template` gives, and which of them to train.

    Trained are the content and tool calls of assistant turns and the token that ends the turn.
    Headers, prompts and what follows the end token are not, nor is a token that begins before the
    turn does. "last" trains the final assistant turn only; "all" every token but the first. Control
    tokens written out in foreign text are encoded as text.

    Raises:
        DataError: no assistant turn to train on, or text that is not Unicode.
        TemplateError: the template is absent, fails, or its turns cannot be told apart.
    """
    chat = Chat(conversation, tokenizer)
    full = chat.render(len(conversation.messages))
    spans: list[_Span] = []
    if train_on != "all":
        turns = [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
        if not turns:
            raise DataError("the conversation has no assistant turn to train on")
        spans = [chat.span(i, full) for i in (turns[-1:] if train_on == "last" else turns)]
    text, moved = chat.codec.mark(full, {place for span in spans for place in span})
    ids, offsets = chat.codec.encode(text)
    if train_on == "all":
        return Encoded(ids=ids, mask=tuple(i > 0 for i in range(len(ids))))
    trained = [any(moved[s.start] <= start < moved[s.end] for s in spans) for start, _ in offsets]
    return Encoded(ids=ids, mask=tuple(trained))


def encode_prompt(
    conversation: Conversation, tokenizer: PreTrainedTokenizerFast
) -> tuple[int, ...]:
    """The ids after which the assistant speaks: the conversation and the header of its turn.

    Raises:
        DataError: the conversation is empty or the assistant has spoken last.
        TemplateError: the template is absent or fails.
    """
    if not conversation.messages or conversation.messages[-1].role == "assistant":
        raise DataError("a prompt must end with a turn that is not the assistant's")
    chat = Chat(conversation, tokenizer)
    text = chat.render(len(conversation.messages), prompt=True)
    return chat.codec.encode(chat.codec.mark(text)[0])[0]


def decode(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of a completion, without special and stop tokens."""
    stops = stop_ids(tokenizer)
    kept = [i for i in ids if i not in stops]
    text: str = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def render_mask(
    ids: Sequence[int], mask: Sequence[bool], tokenizer: PreTrainedTokenizerFast
) -> str:
    """The tokens as text for people, special ones written out, trained stretches in ⟦ ⟧.

    Control characters are shown as pictures, so that the text is safe to print.
    """
    parts = []
    for trained, run in groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1]):
        text = tokenizer.decode([i for i, _ in run], clean_up_tokenization_spaces=False)
        text = text.translate(_VISIBLE)
        parts.append(f"⟦{text}⟧" if trained else text)
    return "".join(parts)


class Chat:
    """One conversation, neutralised, with its template at hand."""

    def __init__(self, conversation: Conversation, tokenizer: PreTrainedTokenizerFast) -> None:
        require_chat_template(tokenizer)
        self._tokenizer = tokenizer
        self._stops = stop_ids(tokenizer)
        self.codec = codec_for(tokenizer, _foreign(conversation))
        _check_header(tokenizer, str(tokenizer.chat_template))
        tools = conversation.to_json().get("tools")
        self._tools: list[Any] | None = _map_text(tools, self._clean(trusted=False))
        self._messages = [
            _for_template(m, self._clean(trusted=m.role == "assistant"))
            for m in conversation.messages
        ]

    def _clean(self, *, trusted: bool) -> Callable[[str], str]:
        return lambda text: self.codec.neutralise(text, trusted=trusted, stops=self._stops)

    def render(self, count: int, *, prompt: bool = False) -> str:
        """The first `count` messages as text."""
        return self._run(self._messages[:count], prompt)

    def _run(self, messages: list[dict[str, Any]], prompt: bool) -> str:
        return _apply(self._tokenizer, messages, tools=self._tools, prompt=prompt)

    def after_last(self) -> tuple[str, int]:
        """The text up to the next assistant turn, and where the last one has ended in it.

        The last assistant turn's content is a sentinel, so that what a template makes of its
        content does not matter.
        """
        last = max(i for i, m in enumerate(self._messages) if m["role"] == "assistant")
        messages = list(self._messages)
        messages[last] = messages[last] | {"content": self.codec.mark_char}
        text = self._run(messages, prompt=True)
        place = text.find(self.codec.mark_char)
        end = None if place < 0 else self._first_stop(text, place)
        if end is None or text[place + 1 : end].strip() not in self.codec.index:
            raise self._no_end(last)
        for i, message in enumerate(messages[last + 1 :], start=last + 1):
            kept = message["content"].strip() in text[end:]
            # A template may write it otherwise, as JSON say; a mark is written as it is.
            if not kept and not self._writes(messages, i):
                raise TemplateError(
                    f"the chat template leaves out a message of role {message['role']!r}; reply "
                    "under another role, such as `user`"
                )
        return text.replace(self.codec.mark_char, "a"), end

    def _writes(self, messages: Sequence[dict[str, Any]], i: int) -> bool:
        swapped = [*messages]
        swapped[i] = swapped[i] | {"content": self.codec.mark_char}
        swapped[i - 1] = swapped[i - 1] | {"content": "a"}
        return self.codec.mark_char in self._run(swapped, prompt=True)

    def span(self, i: int, full: str) -> _Span:
        """Where assistant message i stands in the full text, end token included."""
        if i > 0:
            head = self.render(i, prompt=True)
            upto = full if i + 1 == len(self._messages) else self.render(i + 1)
            if full.startswith(upto) and upto.startswith(head):
                return _Span(len(head), self._turn_end(upto, len(head), i))
        return self._span_by_sentinel(i, full)

    def _span_by_sentinel(self, i: int, full: str) -> _Span:
        # A mark cannot occur in a text that is not marked yet.
        sentinel = self.codec.mark_char
        messages = list(self._messages)
        messages[i] = messages[i] | {"content": sentinel}
        before, found, after = self._run(messages, prompt=False).partition(sentinel)
        if not found or not full.startswith(before) or not full.endswith(after):
            raise TemplateError(
                f"the chat template rewrites messages[{i}] depending on what follows, so what to "
                'train in it cannot be told; use train_on="last", or one conversation a turn'
            )
        end = self._first_stop(full, len(full) - len(after))
        if end is None:
            raise self._no_end(i)
        return _Span(self._after_header(i, before), end)

    def _after_header(self, i: int, before: str) -> int:
        """Where the turn starts: after the generation prompt, if that ends the text before it."""
        if i == 0:
            return len(before)
        header = self.render(i, prompt=True).removeprefix(self.render(i))
        # A space between header and content is sampled by the model, so it belongs to the turn.
        if not header:
            return len(before.rstrip())
        position = before.rfind(header)
        after = position + len(header)
        return after if position >= 0 and not before[after:].strip() else len(before)

    def _turn_end(self, text: str, start: int, i: int) -> int:
        stop = self._first_stop(text, start)
        if stop is not None:
            return stop
        last = next(reversed(list(self._tokens(text, start))), None)
        if last is None or text[last.end() :].strip() or not self._token(last).special:
            raise self._no_end(i)
        return last.end()

    def _first_stop(self, text: str, start: int) -> int | None:
        """Where the first stop token ends: all those in a rendered text are the template's."""
        found = (m.end() for m in self._tokens(text, start) if self._token(m).id in self._stops)
        return next(found, None)

    def _tokens(self, text: str, start: int) -> Iterator[re.Match[str]]:
        return self.codec.literal.finditer(text, start)

    def _token(self, match: re.Match[str]) -> ControlToken:
        return self.codec.tokens[self.codec.index[match.group()]]

    def _no_end(self, i: int) -> TemplateError:
        return TemplateError(
            f"the chat template writes no special token at the end of messages[{i}], so the model "
            "could never learn to stop; write `{{ eos_token }}` after an assistant's content"
        )


def _apply(
    tokenizer: PreTrainedTokenizerFast,
    messages: list[dict[str, Any]],
    *,
    prompt: bool,
    tools: list[Any] | None = None,
) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=prompt
        )
    except TEMPLATE_FAILURES as error:
        reason = str(error) or type(error).__name__
        raise TemplateError(
            f"the chat template refuses this conversation ({reason}); its roles are "
            f"{', '.join(m['role'] for m in messages)}"
        ) from error
    return text


# The template is in the key because it may be changed on a tokenizer in use.
@functools.lru_cache(maxsize=16)
def _check_header(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    """Refuse a template with a header for assistant turns that it never writes as a prompt."""
    user = {"role": "user", "content": "a"}
    assistant = {"role": "assistant", "content": _PROBE}
    plain = _apply(tokenizer, [user], prompt=False)
    prompt = _apply(tokenizer, [user], prompt=True)
    both = _apply(tokenizer, [user, assistant], prompt=False)
    header = both.removeprefix(plain).partition(_PROBE)[0]
    if plain == prompt and both.startswith(plain) and header.strip():
        raise TemplateError(
            f"the chat template writes {header!r} before an assistant turn but ignores "
            "`add_generation_prompt`, so sampling would differ from training; end it with "
            "{% if add_generation_prompt %}{{ " + repr(header) + " }}{% endif %}"
        )


def _foreign(conversation: Conversation) -> list[str]:
    texts: list[str] = []

    def note(text: str) -> str:
        texts.append(text)
        return text

    _map_text(conversation.to_json(), note)
    return texts


def _for_template(message: Message, clean: Callable[[str], str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(message.to_json())
    if message.tool_calls:
        row["tool_calls"] = [
            {
                "id": clean(c.id),
                "type": "function",
                # Templates write `arguments | tojson`, which would quote a string twice.
                "function": {
                    "name": clean(c.name),
                    "arguments": _map_text(_parsed(c.arguments), clean),
                },
            }
            for c in message.tool_calls
        ]
    for key in ("content", "name", "tool_call_id"):
        if key in row:
            row[key] = clean(row[key])
    return row


def _parsed(arguments: str) -> Json:
    try:
        value: Json = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    """Change every string in JSON data, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_text(v, change) for v in value]
    if isinstance(value, dict):
        return {change(k): _map_text(v, change) for k, v in value.items()}
    return value
