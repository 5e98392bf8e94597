"""The arguments of one instruction, read strictly: a wrong one is named with its instruction."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from burnish.errors import DataError
from burnish.types import Json

Check: TypeAlias = Callable[[str], bool]
"""Whether a text follows an instruction."""

RELATIONS = ("less than", "at least")


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What an instruction was given, by name; null counts as not given."""

    kind: str
    values: Mapping[str, Json]

    def count(self, name: str, *, least: int = 0) -> int:
        """A whole number of at least `least`. Raises: DataError."""
        value = self._given(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(name, f"a whole number of at least {least}")
        return value

    def text(self, name: str) -> str:
        """Text that is not blank, without the space around it. Raises: DataError."""
        value = self._given(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "text that is not blank")
        return value.strip()

    def texts(self, name: str) -> tuple[str, ...]:
        """One or more texts, none of them blank. Raises: DataError."""
        value = self._given(name)
        items = value if isinstance(value, list) else []
        texts = tuple(v for v in items if isinstance(v, str) and v.strip())
        if not texts or len(texts) != len(items):
            raise self.wrong(name, "a list of texts, none of them blank")
        return texts

    def bound(self, number: str, relation: str) -> Callable[[int], bool]:
        """`less than` or `at least` a number, as the two arguments say. Raises: DataError."""
        limit, word = self.count(number), self.text(relation)
        if word not in RELATIONS:
            raise self.wrong(relation, " or ".join(f"`{r}`" for r in RELATIONS))
        return (lambda n: n < limit) if word == "less than" else (lambda n: n >= limit)

    def pattern(self, text: str, *, name: str) -> re.Pattern[str]:
        """A regular expression made of argument `name`, cases folded. Raises: DataError."""
        try:
            return re.compile(text, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            raise self.wrong(name, "a regular expression, such as words are") from error

    def wrong(self, name: str, wanted: str) -> DataError:
        """The error that says what an argument must be."""
        return DataError(f"{self.kind}: `{name}` must be {wanted}, not {self.values.get(name)!r}")

    def _given(self, name: str) -> Json:
        value = self.values.get(name)
        if value is None:
            raise DataError(f"{self.kind}: `{name}` is missing")
        return value
