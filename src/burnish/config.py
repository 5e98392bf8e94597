"""Strict loading of frozen dataclasses from plain mappings: unknown keys are errors.

Every config is a dataclass whose `__post_init__` validates it and raises `ConfigError`. This module
turns YAML and `--set a.b=c` into such dataclasses, and back into plain data. Errors name the place
(file:line) and the key's dotted path, and suggest the nearest valid key.
"""

import dataclasses
import difflib
import enum
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, get_args, get_origin, runtime_checkable

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from burnish.errors import ConfigError
from burnish.types import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lines:
    """Where each dotted key of a YAML file stands."""

    path: str
    of: Mapping[str, int]

    def at(self, key: str) -> str:
        """`file:line` of a key, of its nearest known parent, or "" for no file."""
        if not self.path:
            return ""
        while key and key not in self.of:
            key = key.rpartition(".")[0]
        return f"{self.path}:{self.of.get(key, 1)}"


NO_LINES = Lines("", {})


@runtime_checkable
class Textual(Protocol):
    """A value written as one word in YAML, such as a reference to another stage's output."""

    @classmethod
    def from_text(cls, text: str) -> Self: ...

    def to_text(self) -> str: ...


def read_yaml(path: Path) -> tuple[dict[str, Json], Lines]:
    """A YAML file as a plain mapping, with the line of each key.

    Raises:
        ConfigError: it cannot be read, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the file ({error})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.load(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML ({error.problem})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(data, dict) or node is None:
        raise ConfigError(f"{path}: must be a mapping of keys to values")
    lines: dict[str, int] = {}
    _collect_lines(node, "", lines, path)
    return data, Lines(str(path), lines)


def _collect_lines(node: yaml.Node, prefix: str, lines: dict[str, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            if key in lines:
                raise ConfigError(f"{path}:{key_node.start_mark.line + 1}: `{key}` is given twice")
            lines[key] = key_node.start_mark.line + 1
            _collect_lines(value_node, key, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[f"{prefix}.{i}"] = item.start_mark.line + 1
            _collect_lines(item, f"{prefix}.{i}", lines, path)


def suggest(word: str, valid: Iterable[str]) -> str:
    """A did-you-mean clause, or the list of what is valid."""
    names = sorted(valid)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else f"valid: {', '.join(names)}"


def build(cls: type[T], raw: Mapping[str, Any], *, key: str = "", lines: Lines = NO_LINES) -> T:
    """Build a (nested) frozen dataclass from plain data.

    Raises:
        ConfigError: unknown or missing key, wrong type, or the class's own validation failed.
    """
    assert dataclasses.is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for name in raw:
        if name not in fields:
            raise fail(_join(key, str(name)), f"unknown key; {suggest(str(name), fields)}", lines)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = _value(hints[name], raw[name], _join(key, name), lines)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise fail(_join(key, name), "missing: this key has no default", lines)
    try:
        return cls(**values)
    except ConfigError as error:
        message = str(error)
        first = message.split("=")[0].split(" ")[0].strip("`")
        raise fail(_join(key, first) if first in fields else key, message, lines) from error


def fail(key: str, message: str, lines: Lines) -> ConfigError:
    """A ConfigError that starts with file:line and the key."""
    where = lines.at(key)
    return ConfigError(
        ": ".join(part for part in (where, f"`{key}`" if key else "", message) if part)
    )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _value(hint: Any, raw: Any, key: str, lines: Lines) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(raw, hint):
            return raw
        if isinstance(raw, str) and issubclass(hint, Textual):
            try:
                return hint.from_text(raw)
            except ConfigError as error:
                raise fail(key, str(error), lines) from error
        if not isinstance(raw, Mapping):
            raise fail(key, f"must be a mapping with the keys of {hint.__name__}", lines)
        return build(hint, raw, key=key, lines=lines)
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(hint, raw, key, lines)
    if origin is tuple and isinstance(raw, Sequence) and not isinstance(raw, str):
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_value(args[0], item, f"{key}.{i}", lines) for i, item in enumerate(raw))
    if origin is dict and isinstance(raw, Mapping):
        value_hint = get_args(hint)[1]
        return {str(k): _value(value_hint, v, f"{key}.{k}", lines) for k, v in raw.items()}
    return _leaf(hint, raw, key, lines)


def _union(hint: Any, raw: Any, key: str, lines: Lines) -> Any:
    """A union of dataclasses is chosen by the one-key form `{name: {...}}` or a bare name."""
    members = [m for m in get_args(hint) if m is not type(None)]
    textual = [m for m in members if isinstance(m, type) and issubclass(m, Textual)]
    if textual and isinstance(raw, str):
        return _value(textual[0], raw, key, lines)
    if raw is None and type(None) in get_args(hint):
        return None
    if len(members) == 1:
        return _value(members[0], raw, key, lines)
    configs = {snake(m.__name__): m for m in _config_members(members)}
    if not configs:
        return _leaf(hint, raw, key, lines)
    if any(isinstance(raw, m) for m in configs.values()):
        return raw
    name, body = (raw, {}) if isinstance(raw, str) else (None, raw)
    if name is None and isinstance(raw, Mapping) and len(raw) == 1:
        name, body = next(iter(raw.items()))
    if name not in configs:
        raise fail(key, f"choose one: {suggest(str(name), configs)}", lines)
    return build(configs[name], body or {}, key=f"{key}.{name}", lines=lines)


def _config_members(members: Iterable[Any]) -> list[Any]:
    return [m for m in members if isinstance(m, type) and dataclasses.is_dataclass(m)]


def snake(name: str) -> str:
    """Class name to its name in YAML: GRPO -> grpo, BestOfN -> best_of_n."""
    out = ""
    for i, char in enumerate(name):
        after_lower = i > 0 and name[i - 1].islower()
        before_lower = 0 < i < len(name) - 1 and name[i - 1].isupper() and name[i + 1].islower()
        out += ("_" if char.isupper() and (after_lower or before_lower) else "") + char.lower()
    return out


def _leaf(hint: Any, raw: Any, key: str, lines: Lines) -> Any:
    if isinstance(raw, bool) and hint in (int, float):
        raise fail(key, f"must be a number, not {str(raw).lower()}", lines)
    if isinstance(raw, float) and math.isnan(raw):
        raise fail(key, "must be a number, not NaN", lines)
    try:
        # YAML 1.1 reads 1e-5 as text, so numbers may arrive as text; pydantic parses those.
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(
            raw
        )
    except ValidationError as error:
        raise fail(key, f"{error.errors()[0]['msg']} (got {raw!r})", lines) from error


def plain(value: Any) -> Any:
    """The inverse of `build`: dataclasses to mappings, tuples to lists, unions to one-key form."""
    if isinstance(value, Textual):
        return value.to_text()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        return {
            f.name: _plain_field(hints[f.name], getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.init
        }
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _plain_field(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping) and get_origin(hint) is dict:
        return {str(k): _plain_field(get_args(hint)[1], v) for k, v in value.items()}
    members = (
        [m for m in get_args(hint) if m is not type(None)]
        if get_origin(hint) in (types.UnionType, typing.Union)
        else []
    )
    configs = [m for m in members if dataclasses.is_dataclass(m)]
    if len(configs) > 1 and dataclasses.is_dataclass(value) and not isinstance(value, Textual):
        return {snake(type(value).__name__): plain(value)}
    return plain(value)


def override(raw: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=c` assignments (values are YAML) to a plain mapping; returns a new one.

    The name in the one-key form of a union may be left out: `rl.algorithm.clip_high=0.28` reaches
    into `algorithm: {grpo: {clip_high: 0.2}}`.

    Raises:
        ConfigError: an assignment has no `=`, or its path runs through a plain value.
    """
    out: dict[str, Any] = _copy(raw)
    for assignment in assignments:
        path, sep, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not sep or not all(keys):
            raise ConfigError(f"--set {assignment}: write it as --set some.key=value")
        node: Any = out
        for name in keys[:-1]:
            node = _step(node, name, assignment)
        node = _inside(node, keys[-1])
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: the value is not valid YAML") from error
        if isinstance(node, list):
            node[_index(node, keys[-1], assignment)] = value
        else:
            node[keys[-1]] = value
    return out


def _step(node: Any, name: str, assignment: str) -> Any:
    """One level down, making mappings on the way where the key is not set."""
    node = _inside(node, name)
    if isinstance(node, list):
        index = _index(node, name, assignment)
        below = node[index]
    else:
        below = node.setdefault(name, {})
        if below is None:
            below = node[name] = {}
    if not isinstance(below, dict | list):
        raise ConfigError(f"--set {assignment}: `{name}` is a plain value; nothing is below it")
    return below


def _inside(node: Any, name: str) -> Any:
    """The body of a union's one-key form, where that is what has the key."""
    if isinstance(node, dict) and len(node) == 1 and name not in node:
        (body,) = node.values()
        if isinstance(body, dict) and name in body:
            return body
    return node


def _index(items: list[Any], name: str, assignment: str) -> int:
    if not name.isdigit() or int(name) >= len(items):
        raise ConfigError(
            f"--set {assignment}: `{name}` is no index of a list of {len(items)} items"
        )
    return int(name)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless the condition holds; for `__post_init__`."""
    if not condition:
        raise ConfigError(message)


def require_counts(config: object, *names: str) -> None:
    """Raise ConfigError for a field that is below 1 (None is no limit); for `__post_init__`."""
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= 1, f"{name} must be at least 1 (got {value})")
