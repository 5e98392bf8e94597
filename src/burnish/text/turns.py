"""Token ids between two turns of an assistant, so that sampled ids are never tokenised again.

A policy's turns are kept as the ids it sampled. What the chat template writes between them (the
rest of the turn's ending, the replies, the header of the next turn) is encoded here and appended:
so the ids that are trained on are the ids that were sampled, even where the tokenizer would have
cut the same text otherwise.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from burnish.errors import DataError
from burnish.text.chat import Chat
from burnish.types import Conversation, Message


def encode_between(
    conversation: Conversation,
    replies: Sequence[Message],
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[int, ...]:
    """The ids from behind the stop token of the conversation's last turn, an assistant's, to where
    the assistant speaks again after `replies`.

    Control tokens written out in the replies are encoded as text.

    Raises:
        DataError: the last turn is not the assistant's, or no reply follows it.
        TemplateError: the template refuses or leaves out a reply's role, or ends no turn.
    """
    if not conversation.messages or conversation.messages[-1].role != "assistant":
        raise DataError("replies follow a turn of the assistant")
    if not replies or replies[-1].role == "assistant":
        raise DataError("an assistant's turn must be followed by a reply that is not its own")
    whole = Conversation(messages=(*conversation.messages, *replies), tools=conversation.tools)
    chat = Chat(whole, tokenizer)
    rendered, end = chat.after_last()
    text, moved = chat.codec.mark(rendered, (end,))
    ids, offsets = chat.codec.encode(text)
    return tuple(i for i, (start, _) in zip(ids, offsets, strict=True) if start >= moved[end])
