"""What references to other stages' outputs mean where a recipe has blocks.

Read from the types of a stage's fields, so that no other text is taken for a reference.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from burnish.config import Lines, Textual, fail, snake, suggest
from burnish.pipeline.artifact import Ref

CARRIED, PAST = "carried", "past"


@dataclass(frozen=True, slots=True)
class Scope:
    """One round of a block, one seed of it, or what is outside of all blocks."""

    refs: Mapping[str, str]
    """Whole references, such as `carried.model` -> `improve_1_tune.model`."""
    names: Mapping[str, str]
    """Stages of the block -> their names in this round, or with this seed."""
    past: Sequence[Mapping[str, str]] | None
    """The same of each earlier round; None outside of rounds."""
    closed: frozenset[str]
    """Names before the dot that mean nothing but what is in `refs`; empty without blocks."""
    seeded: Mapping[str, Mapping[str, Sequence[str]]]
    """Block of seeds -> stage -> its names, one a seed."""

    def fields(self, cls: type, body: Mapping[str, Any], key: str, lines: Lines) -> dict[str, Any]:
        """A config's plain values, with references to plain stages only.

        Raises:
            ConfigError: `carried`, `past` or a block is named where or as it cannot be.
        """
        hints = typing.get_type_hints(cls)
        return {
            k: self.value(hints[k], v, f"{key}.{k}", lines) if k in hints else v
            for k, v in body.items()
        }

    def value(self, hint: Any, raw: Any, key: str, lines: Lines) -> Any:
        """The same of one value, of the type that its field has."""
        union = get_origin(hint) in (types.UnionType, typing.Union)
        options = get_args(hint) if union else (hint,)
        for option in options:
            if option is Ref and isinstance(raw, str):
                return self._one(raw, key, lines)
            if get_origin(option) is tuple and isinstance(raw, list | str):
                return self._many(get_args(option)[0], raw, key, lines)
            if get_origin(option) is dict and isinstance(raw, Mapping):
                return self._named(get_args(option)[1], raw, key, lines)
        classes = [o for o in options if isinstance(o, type) and not issubclass(o, Textual)]
        configs = [cls for cls in classes if dataclasses.is_dataclass(cls)]
        if not configs or not isinstance(raw, Mapping):
            return raw
        if len(configs) == 1:
            return self.fields(configs[0], raw, key, lines)
        named = {snake(config.__name__): config for config in configs}
        return {
            k: self.fields(named[k], body, f"{key}.{k}", lines)
            if k in named and isinstance(body, Mapping)
            else body
            for k, body in raw.items()
        }

    def _one(self, text: str, key: str, lines: Lines) -> str:
        if text in self.refs:
            return self.refs[text]
        stage, _, output = text.partition(".")
        if stage in self.names:
            return f"{self.names[stage]}.{output}"
        if stage in self.closed and (stage == PAST or stage in self.seeded):
            raise fail(key, f"`{text}` is a list, and one output is wanted here", lines)
        if stage in self.closed:
            raise fail(key, f"there is no `{text}` here; {suggest(text, self.refs)}", lines)
        return text

    def _many(self, hint: Any, raw: list[Any] | str, key: str, lines: Lines) -> Any:
        """A tuple: `past` or a block of seeds stands for all of it, or for some of its items."""
        if isinstance(raw, str):
            return self._several(raw, key, lines) if self._is_several(hint, raw) else raw
        found: list[Any] = []
        for i, item in enumerate(raw):
            place = f"{key}.{i}"
            if self._is_several(hint, item):
                found += self._several(item, place, lines)
            else:
                found.append(self.value(hint, item, place, lines))
        return found

    def _named(self, hint: Any, raw: Mapping[str, Any], key: str, lines: Lines) -> dict[str, Any]:
        """A mapping: a block of seeds stands for several keys."""
        found: dict[str, Any] = {}
        for k, item in raw.items():
            place = f"{key}.{k}"
            if self._is_several(hint, item) and not item.startswith(f"{PAST}."):
                several = self._several(item, place, lines)
                found |= {f"{k}_s{n}": ref for n, ref in enumerate(several, 1)}
            else:
                found[k] = self.value(hint, item, place, lines)
        return found

    def _is_several(self, hint: Any, item: Any) -> bool:
        if hint is not Ref or not isinstance(item, str):
            return False
        start = item.partition(".")[0]
        return start in self.closed and (start == PAST or start in self.seeded)

    def _several(self, text: str, key: str, lines: Lines) -> list[str]:
        block, _, rest = text.partition(".")
        if block == PAST:
            return self._past(text, key, lines)
        stage, _, output = rest.partition(".")
        if not output:
            raise fail(key, f"`{text}` names no output; write it as {block}.stage.output", lines)
        names = self.seeded[block]
        if stage not in names:
            hint = suggest(stage, names)
            raise fail(key, f"`{text}`: `{stage}` is no stage of the block; {hint}", lines)
        return [f"{name}.{output}" for name in names[stage]]

    def _past(self, text: str, key: str, lines: Lines) -> list[str]:
        stage, _, output = text.removeprefix(f"{PAST}.").partition(".")
        if self.past is None:
            raise fail(key, f"`{text}`: there is no past outside of a block of rounds", lines)
        if not output:
            raise fail(key, f"`{text}` names no output; write it as past.stage.output", lines)
        if stage not in self.names:
            hint = suggest(stage, self.names)
            raise fail(key, f"`{text}`: `{stage}` is no stage of the block; {hint}", lines)
        return [f"{names[stage]}.{output}" for names in self.past]
