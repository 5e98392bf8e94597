"""ROUGE-L: how much of two texts is the same, in the same order (Lin 2004)."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Case-folded runs of letters and digits, of any script."""
    return _WORD.findall(text.casefold())


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """The F-measure 2PR / (P + R) = 2L / (|a| + |b|), L the longest common subsequence.

    0 where either is empty.
    """
    if not a or not b:
        return 0.0
    return 2 * _common(a, b) / (len(a) + len(b))


def more_alike(a: Sequence[str], b: Sequence[str], limit: float) -> bool:
    """Whether ROUGE-L is at least `limit` (> 0), without computing it where lengths rule it out."""
    bound = 2 * min(len(a), len(b)) / max(len(a) + len(b), 1)
    return bound >= limit and rouge_l(a, b) >= limit


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if x == y else max(above, row[j - 1])
            diagonal = above
    return row[-1]
