"""Printing, and what the command line takes from its surroundings."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from burnish.pipeline.progress import Lines, Screen, printable


def say(text: str = "") -> None:
    """A line on standard output, with control characters escaped."""
    print(printable(text), flush=True)


def stream(text: str) -> None:
    """A part of a line on standard output, at once, with control characters escaped."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def remark(text: str) -> None:
    """A line about what is happening, on standard error: standard output is for what was asked."""
    print(printable(text), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """An error, as one line on standard error."""
    print("error: " + printable(text).replace("\n", " "), file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Where fetched weights are kept: $BURNISH_CACHE, else burnish/ in the user's cache."""
    own = os.environ.get("BURNISH_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser().absolute() / "burnish"


def screen(line: Callable[[str], None] = say) -> Screen:
    """Bars on a terminal, lines elsewhere."""
    if not sys.stdout.isatty():
        return Lines(line)
    from rich.console import Console

    from burnish.pipeline.terminal import Bars

    return Bars(Console())
