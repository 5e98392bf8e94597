"""What is learnt by imitation: conversations, completions of a model, or plain texts, as tokens.

A completion is read as its prompt and one more turn of the assistant. One that was cut has no end
that could be taught, and is left out. A plain text is read as a base model reads it: without a chat
template, every token trained but the first, with the tokenizer's EOS after the last. A long one is
read in even pieces, so that nothing of it is lost.
"""

from collections.abc import Sequence
from itertools import pairwise

from burnish.data import store
from burnish.data.store import Sampled
from burnish.engine.text_model import TextModel
from burnish.errors import TrainingError
from burnish.models.policy import context_length
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.text.chat import Encoded, TrainOn
from burnish.types import Conversation, Finish


def read_documents(
    ctx: Context,
    text: TextModel,
    sources: Sequence[Ref],
    *,
    train_on: TrainOn,
    max_tokens: int,
) -> list[list[Encoded]]:
    """The rows of each source; long conversations and completions without an end are left out, and
    counted. `train_on` is for conversations.

    Raises:
        TrainingError: none is left.
    """
    read = [store.read_documents(ctx.input(ref)) for ref in sources]
    every = [item for items in read for item in items]
    _count_unfit(ctx, [item for item in every if isinstance(item, Sampled)])
    limit = min(max_tokens, context_length(text.model))
    plain = [sum(isinstance(item, str) for item in items) for items in read]
    encoded = [
        [row for item in items for row in _encoded(text, item, train_on, limit)] for items in read
    ]
    if sum(plain):
        pieces = sum(len(rows) for rows, count in zip(encoded, plain, strict=True) if count)
        ctx.tally(f"rows of at most {limit} tokens from {sum(plain)} texts", pieces)
    kept = [[row for row in rows if len(row.ids) <= limit] for rows in encoded]
    total, left = sum(map(len, encoded)), sum(map(len, kept))
    if len(every) > sum(plain):
        chats = sum(len(rows) for rows, count in zip(encoded, plain, strict=True) if not count)
        ctx.count(f"conversations over {limit} tokens dropped", total - left, chats)
    if not left:
        raise TrainingError(
            f"of {len(every)} conversations none is finished and has at most {limit} "
            f"tokens (max_tokens={max_tokens}): there is nothing to learn"
        )
    return kept


def _encoded(
    text: TextModel, item: Conversation | Sampled | str, train_on: TrainOn, limit: int
) -> list[Encoded]:
    """The rows that an item gives: one or none, or the pieces of a plain text."""
    if isinstance(item, str):
        return _pieces(text.plain(item), limit)
    found = _conversation(item)
    return [] if found is None else [text.encode(found, train_on)]


def _pieces(ids: Sequence[int], limit: int) -> list[Encoded]:
    """As few as `limit` allows, and then as even ones."""
    count = -(-len(ids) // limit)
    places = [len(ids) * i // count for i in range(count + 1)]
    return [
        Encoded(ids=tuple(ids[a:b]), mask=(False, *(True,) * (b - a - 1)))
        for a, b in pairwise(places)
    ]


def _conversation(item: Conversation | Sampled) -> Conversation | None:
    """What can be learnt of a row, if anything."""
    if isinstance(item, Conversation):
        return item
    return item.problem.prompt.then(item.text) if _ended(item) and item.text.strip() else None


def _ended(item: Sampled) -> bool:
    return item.finish is Finish.STOP


def _count_unfit(ctx: Context, items: Sequence[Sampled]) -> None:
    if items:
        cut = sum(not _ended(item) for item in items)
        empty = sum(_ended(item) and not item.text.strip() for item in items)
        ctx.count("completions that were cut left out", cut, len(items))
        ctx.count("empty completions left out", empty, len(items))
