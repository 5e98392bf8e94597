"""The commands that the documentation tells a reader to run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
STARTS = re.compile(r"burnish [a-z]|(python -m )?bench\.[a-z_]+( |$)|python -m bench")
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One of them, as it stands on a page. `words` begin with `burnish` or the bench's module."""

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """As one would type it."""
        typed = shlex.join(self.words)
        return typed if self.words[0] == "burnish" else f"python -m {typed}"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def pages() -> list[Path]:
    """Where they stand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def collected() -> list[Command]:
    """All of them, in the order of pages and lines."""
    return [
        command
        for path in pages()
        for command in found(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


def found(text: str, page: str) -> Iterator[Command]:
    """Those of one page: lines of blocks of code, and code within a sentence.

    A name alone within a sentence (`burnish eval`) is what the sentence is about, not a command to
    be typed; in a block it is.
    """
    prose: list[str] = []
    blocks: list[tuple[int, str]] = []
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        code = not fence and (fenced or line.startswith("    "))
        prose.append("" if code or fence else line)
        if code:
            blocks.append((number, line.strip().removeprefix("$ ")))
    typed = [(number, line, True) for number, line in blocks]
    whole = "\n".join(prose)
    typed += [
        (whole.count("\n", 0, match.start()) + 1, " ".join(match[1].split()), False)
        for match in INLINE.finditer(whole)
    ]
    for number, line, alone in sorted(typed, key=lambda found: found[0]):
        if STARTS.match(line):
            words = shlex.split(line.removeprefix("python -m "), comments=True)
            if alone or line.startswith("python") or words[2:]:
                yield Command(page=page, line=number, words=tuple(words))
