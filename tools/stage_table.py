"""Write docs/stages.md: every stage type with its fields, read from the dataclasses themselves."""

import ast
import dataclasses
import importlib
import inspect
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from burnish.config import Textual, snake
from burnish.stages import STAGES

PAGE = Path(__file__).parents[1] / "docs" / "stages.md"
HEAD = """\
# Stages and their fields

Written by `python tools/stage_table.py` from the dataclasses; do not edit. A type such as
`ModelRef` is a reference to another stage's output, `stage.output` in YAML. Where a type is a
choice of several settings, YAML names one: `algorithm: {grpo: {clip_low: 0.2}}`, or just
`algorithm: grpo`. How recipes work: [pipeline.md](pipeline.md).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    settings: dict[str, type] = {}
    for name, where in STAGES.items():
        module, _, attribute = where.partition(":")
        cls = vars(importlib.import_module(module))[attribute]
        parts.append(f"## {name}\n\n{_summary(cls)}\n\n{_outputs(cls)}\n")
        parts.append(table(cls))
        settings |= {s.__name__: s for s in _settings(cls)}
    parts.append("# Settings inside stages\n")
    for _, cls in sorted(settings.items()):
        parts.append(f"## {cls.__name__}\n\n`{snake(cls.__name__)}`: {_summary(cls)}\n")
        parts.append(table(cls))
    return "\n".join(parts)


def _summary(cls: type) -> str:
    return _cell((inspect.getdoc(cls) or "").split("\n\n")[0])


def _outputs(cls: Any) -> str:
    outputs = vars(cls)["outputs"]
    if not isinstance(outputs, Mapping):
        return "Outputs follow its fields."
    kinds = [f"`{name}`" + (f" ({kind})" if kind != name else "") for name, kind in outputs.items()]
    return f"Outputs: {', '.join(kinds)}."


def table(cls: type) -> str:
    rows = [f"| `{n}` | {t} | {d} | {m} |" for n, t, d, m in _fields(cls)]
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _fields(cls: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each field as in the source, a base's first."""
    rows: dict[str, tuple[str, str, str, str]] = {}
    for part in reversed([c for c in cls.__mro__ if dataclasses.is_dataclass(c)]):
        rows |= {row[0]: row for row in _own_fields(part)}
    return iter(rows.values())


def _own_fields(cls: type) -> Iterator[tuple[str, str, str, str]]:
    names = {f.name for f in dataclasses.fields(cls)}
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    for line, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        if line.target.id not in names:
            continue
        meaning = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = inspect.cleandoc(str(after.value.value))
        yield (
            line.target.id,
            f"`{_cell(ast.unparse(line.annotation))}`",
            "required" if line.value is None else f"`{_cell(_default(line.value))}`",
            _cell(meaning),
        )


def _default(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "field":
        return f"{ast.unparse(node.keywords[0].value)}()"
    return ast.unparse(node)


def _settings(cls: type, seen: set[type] | None = None) -> Iterator[type]:
    """The dataclasses among the types of a class's fields, and theirs, each once."""
    seen = set() if seen is None else seen
    for hint in typing.get_type_hints(cls).values():
        for part in _parts(hint):
            is_settings = isinstance(part, type) and dataclasses.is_dataclass(part)
            if is_settings and not issubclass(part, Textual) and part not in seen:
                seen.add(part)
                yield part
                yield from _settings(part, seen)


def _parts(hint: Any) -> Iterator[Any]:
    """A type, and all those inside of it."""
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
