"""Which outputs of other stages a stage reads, and of which kind each must be.

Read from the stage's annotations (`Annotated[Ref, "model"]`), also inside tuples, mappings, unions
and nested configs, so that nobody has to list inputs twice.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from burnish.pipeline.artifact import KINDS, Ref
from burnish.pipeline.stage import Stage


@dataclass(frozen=True, slots=True)
class Input:
    """One reference: the dotted field that holds it, and the kinds allowed (none: any)."""

    field: str
    ref: Ref
    kinds: tuple[str, ...]


def inputs_of(stage: Stage) -> list[Input]:
    """Every reference that a stage holds, in the order of its fields."""
    return list(_fields(stage, ""))


def _fields(value: Any, prefix: str) -> Iterator[Input]:
    hints = typing.get_type_hints(type(value), include_extras=True)
    for field in dataclasses.fields(value):
        path = f"{prefix}.{field.name}" if prefix else field.name
        yield from _walk(hints[field.name], getattr(value, field.name), path)


def _walk(hint: Any, value: Any, path: str) -> Iterator[Input]:
    if isinstance(value, Ref):
        yield Input(path, value, tuple(dict.fromkeys(_kinds(hint))))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _fields(value, path)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(hint, item, f"{path}.{name}")
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from _walk(hint, item, f"{path}.{i}")


def _kinds(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Annotated:
        yield from (m for m in hint.__metadata__ if isinstance(m, str) and m in KINDS)
    else:
        for arg in get_args(hint):
            yield from _kinds(arg)
