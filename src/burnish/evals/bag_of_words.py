"""A bag-of-words Bradley-Terry model: the baseline a reward model must beat to mean anything."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_TOKEN = re.compile(r"\w+|[^\w\s]")


class BagOfWords:
    """P(a beats b) = sigmoid(w . (counts(a) - counts(b))), by penalised maximum likelihood."""

    def __init__(self, pairs: Sequence[tuple[str, str]], *, l2: float = 1.0) -> None:
        """Fit on (chosen, rejected) texts; `l2` is the penalty on each weight."""
        seen = Counter(token for pair in pairs for text in pair for token in set(tokens(text)))
        self._index = {token: i for i, (token, n) in enumerate(sorted(seen.items())) if n >= 2}
        self._index = {token: i for i, token in enumerate(self._index)}
        features = np.stack([self._counts(c) - self._counts(r) for c, r in pairs])
        self._weights = _fit(features, l2)

    def score(self, text: str) -> float:
        """The text's log-odds against an empty one."""
        return float(self._counts(text) @ self._weights)

    def _counts(self, text: str) -> np.ndarray:
        out = np.zeros(len(self._index))
        for token in tokens(text):
            if token in self._index:
                out[self._index[token]] += 1
        return out


def tokens(text: str) -> list[str]:
    """Case-folded words and single punctuation marks."""
    return _TOKEN.findall(text.casefold())


def _fit(features: np.ndarray, l2: float, iterations: int = 50) -> np.ndarray:
    """Newton's method in the dual of the pairs (kernel form), so words may outnumber pairs."""
    gram = features @ features.T / l2
    alpha = np.zeros(len(features))
    for _ in range(iterations):
        margins = gram @ alpha
        wrong = 1 / (1 + np.exp(margins))
        curvature = np.maximum(wrong * (1 - wrong), 1e-12)
        # Newton step of w = X^T alpha / l2 for sum log(1 + exp(-X w)) + l2/2 |w|^2.
        target = margins + wrong / curvature
        updated = np.linalg.solve(gram + np.diag(1 / curvature), target)
        if np.max(np.abs(updated - alpha)) < 1e-8:
            alpha = updated
            break
        alpha = updated
    weights: np.ndarray = features.T @ alpha / l2
    return weights
