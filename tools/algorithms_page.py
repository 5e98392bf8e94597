"""Write docs/algorithms.md: every algorithm's equations, source and knobs, from docstrings."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Union, get_args, get_origin, get_type_hints

from burnish.config import snake
from burnish.stages.prefer import Prefer
from burnish.stages.rl import RL
from tools.stage_table import table

PAGE = Path(__file__).parents[1] / "docs" / "algorithms.md"
HEAD = """\
# Algorithms

Written by `python -m tools.algorithms_page` from the docstrings; do not edit. One paper, one file:
the module named under each heading holds the whole of it. In a recipe an algorithm is named, with
its knobs where they differ from the defaults:

```yaml
  grpo:
    stage: rl
    algorithm: {dapo: {clip_high: 0.28}}
```

From Python it is a frozen dataclass; `burnish.conformance` has the same numbers as functions.
"""

LEARNT = ("bradley_terry", "outcome_reward", "process_reward", "attribute_reward", "sft")
"""Modules of losses that no stage offers a choice of."""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "# Policy gradients (stage `rl`)\n"]
    parts += [_entry(cls) for cls in _choices(RL)]
    parts.append("# Where a KL penalty sits\n")
    parts.append(_text("burnish.algos.kl"))
    parts.append("# Direct alignment (stage `prefer`)\n")
    parts += [_entry(cls) for cls in _choices(Prefer)]
    parts.append("# Reward models and supervised fine-tuning\n")
    parts += [_text(f"burnish.algos.{name}") for name in LEARNT]
    return "\n".join(parts)


def _choices(stage: type) -> list[type]:
    hint = get_type_hints(stage)["algorithm"]
    assert get_origin(hint) in (Union, type(int | str))
    return list(get_args(hint))


def _entry(cls: type) -> str:
    return f"## {snake(cls.__name__)}\n\n{_text(cls.__module__)}\n{table(cls)}"


def _text(module: str) -> str:
    """A module's docstring as Markdown: indented equations stay code."""
    doc = inspect.getdoc(importlib.import_module(module)) or ""
    return f"`{module}`\n\n{doc}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
