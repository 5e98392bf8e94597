"""Search over the texts of one folder, ranked by BM25 (Robertson, Zaragoza 2009, eq. 3.15).

    score(p, words) = sum over words of  idf(w) f (k1 + 1) / (f + k1 (1 - b + b |p| / mean |p|))

A passage is a paragraph of a .txt or .md file in the folder or below it. Files are found by walking
the folder once; a query never names a file, so none outside can be reached, and links are not
followed. Read once a process: texts that change while a run goes on are not read again.
"""

import functools
import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import DataError

K1, B = 1.2, 0.75
SHOWN = 2
"""Passages of a result."""
PASSAGE_CHARACTERS = 240
"""Of each; it is cut around there, which `...` says."""
LARGEST_BYTES = 1 << 20
"""Of a file."""
MOST_PASSAGES = 50_000
SUFFIXES = (".md", ".txt")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Passages with their words counted."""

    passages: tuple[str, ...]
    counts: tuple[Counter[str], ...]
    holding: Counter[str]
    """In how many passages each word is."""
    mean_words: float

    def best(self, query: str) -> list[str]:
        """Passages that hold a word of the query, best first; earlier ones first among equals."""
        words = set(_words(query))
        scored = [(self._score(count, words), -i) for i, count in enumerate(self.counts)]
        found = sorted((pair for pair in scored if pair[0] > 0), reverse=True)
        return [self.passages[-i] for _, i in found[:SHOWN]]

    def _score(self, count: Counter[str], words: set[str]) -> float:
        length = sum(count.values())
        total = 0.0
        for word in sorted(words & count.keys()):
            held = self.holding[word]
            idf = math.log(1 + (len(self.passages) - held + 0.5) / (held + 0.5))
            size = K1 * (1 - B + B * length / self.mean_words)
            total += idf * count[word] * (K1 + 1) / (count[word] + size)
        return total


def search_folder(folder: str, query: str) -> str:
    """The best passages, one a paragraph.

    Raises:
        ValueError: the query has no word, or no passage has one of them.
        DataError: the folder cannot be read, or holds no texts.
    """
    if not _words(query):
        raise ValueError("no words to search for")
    found = read_index(folder).best(query)
    if not found:
        raise ValueError("nothing found")
    return "\n\n".join(_short(passage) for passage in found)


@functools.lru_cache(maxsize=4)
def read_index(folder: str) -> Index:
    """The passages of a folder's texts.

    Raises:
        DataError: it is no folder, holds no texts, or one that is too large or not UTF-8.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder}: not a folder; `folder` must name the texts to search")
    passages = [p.strip() for path in _texts(root) for p in re.split(r"\n\s*\n", _read(path))]
    passages = [p for p in passages if _words(p)]
    if not passages:
        raise DataError(f"{folder}: holds no passage; put .txt or .md files in it")
    if len(passages) > MOST_PASSAGES:
        raise DataError(f"{folder}: {len(passages)} passages; at most {MOST_PASSAGES} are searched")
    counts = tuple(Counter(_words(p)) for p in passages)
    return Index(
        passages=tuple(passages),
        counts=counts,
        holding=Counter(word for count in counts for word in count),
        mean_words=sum(sum(c.values()) for c in counts) / len(counts),
    )


def _texts(root: Path) -> list[Path]:
    return sorted(
        path
        for place, _, names in os.walk(root, followlinks=False)
        for name in names
        if (path := Path(place) / name).suffix in SUFFIXES and not path.is_symlink()
    )


def _read(path: Path) -> str:
    if path.stat().st_size > LARGEST_BYTES:
        raise DataError(f"{path}: larger than {LARGEST_BYTES} bytes; split it or take it away")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 ({error})") from error


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _short(passage: str) -> str:
    text = " ".join(passage.split())
    return text if len(text) <= PASSAGE_CHARACTERS else text[:PASSAGE_CHARACTERS] + " ..."
