"""Whether two models mean the same by a token id."""

from pathlib import Path

from burnish.errors import ModelError
from burnish.text.tokenizer import load_tokenizer


def require_same_vocabulary(first: Path, second: Path) -> None:
    """Pass where both tokenizers give the same tokens the same ids.

    Raises:
        ModelError: they differ, so that ids of one would be read as other words by the other.
    """
    ours, theirs = (load_tokenizer(path).get_vocab() for path in (first, second))
    if ours == theirs:
        return
    differ = sorted({token for token, _ in ours.items() ^ theirs.items()})
    token = differ[0]
    raise ModelError(
        f"{first} and {second}: their tokenizers differ in {len(differ)} tokens ({token!r} has id "
        f"{ours.get(token)} and {theirs.get(token)}); use models of one family"
    )
