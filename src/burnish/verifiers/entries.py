"""reasoning-gym's entries as JSON: tuples stay tuples, since its scorers compare with them.

`tuple` is no type of JSON's, and `(1, 2) == [1, 2]` is False in Python.
"""

from collections.abc import Mapping
from typing import Any

_TUPLE = "__tuple__"


def packed(value: object) -> object:
    """The value with each tuple as an object that names it; other values are as they were."""
    if isinstance(value, tuple):
        return {_TUPLE: [packed(item) for item in value]}
    if isinstance(value, list):
        return [packed(item) for item in value]
    if isinstance(value, Mapping):
        return {key: packed(item) for key, item in value.items()}
    return value


def unpacked(found: dict[str, Any]) -> object:
    """For `json.loads` as its `object_hook`: what `packed` named is a tuple again."""
    return tuple(found[_TUPLE]) if set(found) == {_TUPLE} else found
