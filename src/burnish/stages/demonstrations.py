"""What is learnt by imitation: conversations, or completions of a model, as tokens.

A completion is read as its prompt and one more turn of the assistant. One that was cut has no end
that could be taught, and is left out.
"""

from collections.abc import Sequence

from burnish.data.store import Sampled, read_demonstrations
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
    """The rows of each source; long ones and completions without an end are left out, and counted.

    Raises:
        TrainingError: none is left.
    """
    read = [read_demonstrations(ctx.input(ref)) for ref in sources]
    _count_unfit(ctx, [item for items in read for item in items if isinstance(item, Sampled)])
    fit = [[c for item in items if (c := _conversation(item)) is not None] for items in read]
    encoded = [[text.encode(c, train_on) for c in conversations] for conversations in fit]
    limit = min(max_tokens, context_length(text.model))
    kept = [[row for row in rows if len(row.ids) <= limit] for rows in encoded]
    total, left = sum(map(len, encoded)), sum(map(len, kept))
    ctx.count(f"conversations over {limit} tokens dropped", total - left, total)
    if not left:
        raise TrainingError(
            f"of {sum(map(len, read))} conversations none is finished and has at most {limit} "
            f"tokens (max_tokens={max_tokens}): there is nothing to learn"
        )
    return kept


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
