"""Deterministic splits in which nothing of one prompt is on both sides.

Whether a prompt is held out depends on its hash and the seed alone, so a data set that grows keeps
what it had on the side where it was.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from burnish import rng
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, content_hash

T = TypeVar("T")
_RANGE = float(1 << 63)


class _Prompted(Protocol):
    @property
    def prompt(self) -> Conversation: ...


def prompt_key(item: Conversation | _Prompted) -> str:
    """A hash of how the dialogue opens: all before the first assistant turn.

    Dialogues of several lengths with the same opening, and prompts that differ in case or white
    space, count as one prompt.
    """
    conversation = item if isinstance(item, Conversation) else item.prompt
    opening: list[str] = []
    for message in conversation.messages:
        if message.role == "assistant":
            break
        opening += [message.role, " ".join(message.content.casefold().split())]
    return content_hash(*opening)


def split(
    items: Sequence[T], *, key: Callable[[T], str], heldout: float | int, seed: int
) -> tuple[list[T], list[T]]:
    """(train, heldout), each in the order of `items`; all items of one key are on one side.

    `heldout` is the share of keys as a float in (0, 1), met in expectation, or the least number of
    items as an int: whole keys are taken until there are that many.

    Raises:
        ConfigError: `heldout` is out of range.
        DataError: a side is left without items.
    """
    draws = {k: rng.key(seed, "split", k) for k in sorted({key(item) for item in items})}
    if isinstance(heldout, float):
        if not 0 < heldout < 1:
            raise ConfigError(f"heldout={heldout}: a share must be between 0 and 1, exclusive")
        chosen = {k for k, draw in draws.items() if draw / _RANGE < heldout}
    else:
        if heldout < 1:
            raise ConfigError(f"heldout={heldout}: hold out at least 1 item")
        chosen = _first(draws, [key(item) for item in items], heldout)
    train = [item for item in items if key(item) not in chosen]
    held = [item for item in items if key(item) in chosen]
    if not train or not held:
        raise DataError(
            f"heldout={heldout} of {len(items)} items with {len(draws)} different prompts leaves "
            f"{len(train)} to train on and {len(held)} held out; change it or add data"
        )
    return train, held


def overlap(train: Iterable[T], heldout: Iterable[T], *, key: Callable[[T], str]) -> int:
    """How many held-out items have a key that training has seen."""
    seen = {key(item) for item in train}
    return sum(key(item) in seen for item in heldout)


def _first(draws: dict[str, int], keys: list[str], count: int) -> set[str]:
    sizes = dict.fromkeys(draws, 0)
    for k in keys:
        sizes[k] += 1
    chosen: set[str] = set()
    held = 0
    for k in sorted(draws, key=lambda k: (draws[k], k)):
        if held >= count:
            break
        chosen.add(k)
        held += sizes[k]
    return chosen
