"""`burnish recipe`: what differs between two recipes, stage by stage."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

import typer

from burnish.cli.terminal import say

app = typer.Typer(no_args_is_help=True, help="Compare recipes.")
MOST_CHARS = 40
"""Of a value in the table."""
_ROUND = re.compile(r"(.+)_(\d{1,2})_(.+)")


@app.callback()
def group() -> None:
    """Keeps `diff` a word of its own while it is the only command."""


@app.command("diff")
def diff(
    recipe_a: Annotated[str, typer.Argument(metavar="A", help="A recipe, YAML file or run.")],
    recipe_b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Show what B changes in A: stage by stage, numbers with their factor."""
    from burnish.cli.recipes import load_recipe
    from burnish.cli.table import table
    from burnish.pipeline.recipe import to_plain

    a, b = (to_plain(load_recipe(name))["stages"] for name in (recipe_a, recipe_b))
    say(f"A  {recipe_a}\nB  {recipe_b}")
    changed = [(name, changes(a[name], b[name])) for name in a if name in b]
    for title, rows in _together([(name, rows) for name, rows in changed if rows]):
        say(f"\n{title}")
        for line in table([["", "field", "A", "B", "B / A"], *(row.cells for row in rows)]):
            say(f"  {line}".rstrip())
    same = [name for name, rows in changed if not rows]
    for words, names in (
        ("the same in both", same),
        ("only in A", [name for name in a if name not in b]),
        ("only in B", [name for name in b if name not in a]),
    ):
        if names:
            say(f"\n{words}: {', '.join(named(names))}")


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs; `factor` for a number."""

    kind: str
    field: str
    a: str
    b: str
    factor: str = ""

    @property
    def cells(self) -> list[str]:
        return [self.kind, self.field, short(self.a), short(self.b), self.factor]


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """What differs between two stages: scaled numbers first, then what changed, then the rest.

    Of two types of stage only the fields that both have are compared.
    """
    kinds = ("type", "scaled", "changed", "only in A", "only in B")
    ours, theirs = dict(flat(a)), dict(flat(b))
    if a["stage"] != b["stage"]:
        shared = ours.keys() & theirs.keys()
        ours, theirs = ({k: v for k, v in one.items() if k in shared} for one in (ours, theirs))
    found = [
        _change(key, ours.get(key), theirs.get(key))
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key, "None") != theirs.get(key, "None")  # left out is the same as none
    ]
    return sorted(found, key=lambda change: kinds.index(change.kind))


def _change(key: str, left: str | None, right: str | None) -> Change:
    if left is None:
        return Change("only in B", key, "", right or "")
    if right is None:
        return Change("only in A", key, left, "")
    factor = scale(left, right)
    kind = "type" if key == "stage" else "scaled" if factor else "changed"
    return Change(kind, key, left, right, factor)


def scale(left: str, right: str) -> str:
    """How many times the one is the other, as text; "" where one of them is no number above 0."""
    try:
        one, other = float(left), float(right)
    except ValueError:
        return ""
    if not (one > 0 and other > 0):
        return ""
    return f"x {other / one:.3g}" if other >= one else f"1 / {one / other:.3g}"


def short(text: str) -> str:
    """The beginning of a long value."""
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 3]}..."


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys with their values as text, those of lists of settings included."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, str(value)


def alike(rows: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Sequence[str]]]:
    """Rows by key, those of rounds that say the same as one."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for key, cells in rows.items():
        parts = _ROUND.fullmatch(key)
        groups.setdefault((parts.group(1, 3) if parts else key, tuple(cells)), []).append(key)
    for keys in groups.values():
        yield ", ".join(named(keys)), rows[keys[0]]


def _together(
    found: Sequence[tuple[str, list[Change]]],
) -> Iterator[tuple[str, list[Change]]]:
    """Stages of rounds that differ alike, as one."""
    left = dict(found)
    for name, rows in found:
        if name not in left:
            continue
        parts = _ROUND.fullmatch(name)
        same = [n for n, r in left.items() if parts and _sibling(n, parts) and _same(r, rows)]
        for other in same or [name]:
            del left[other]
        yield ", ".join(named(same or [name])), rows


def _sibling(name: str, parts: re.Match[str]) -> bool:
    other = _ROUND.fullmatch(name)
    return other is not None and other.group(1, 3) == parts.group(1, 3)


def _same(one: Sequence[Change], other: Sequence[Change]) -> bool:
    """Whether the changes are equal but for the number of the round in references."""

    def bare(rows: Sequence[Change]) -> list[list[str]]:
        return [[re.sub(r"_\d{1,2}_", "_N_", cell) for cell in row.cells] for row in rows]

    return bare(one) == bare(other)


def named(names: Sequence[str]) -> Iterator[str]:
    """The names, those of consecutive rounds as `block_1..5_stage`."""

    def key(name: str) -> tuple[str, ...]:
        parts = _ROUND.fullmatch(name)
        return parts.group(1, 3) if parts else (name,)

    order = {key(name): i for i, name in reversed(list(enumerate(names)))}
    for shape, members in groupby(
        sorted(names, key=lambda n: (order[key(n)], names.index(n))), key
    ):
        rounds = list(members)
        if len(rounds) == 1:
            yield rounds[0]
            continue
        numbers = [
            name.removeprefix(f"{shape[0]}_").removesuffix(f"_{shape[1]}") for name in rounds
        ]
        yield f"{shape[0]}_{numbers[0]}..{numbers[-1]}_{shape[1]}"
