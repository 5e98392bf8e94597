"""How long: sentences, words, and paragraphs by either of two dividers."""

import re
from functools import lru_cache
from typing import Any

from burnish.verifiers.instructions.args import Args, Check

_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_ENDS_FIRST_WORD = re.compile(r"[.,?!'\"]")


def number_of_words(text: str) -> int:
    """Runs of letters, digits and underscores: `don't` is two, `well-known` too.

    By NLTK's tokenizer, which counts the combining marks of Hindi and others as letters.
    """
    return len(_words().tokenize(text))


@lru_cache(maxsize=1)
def _words() -> Any:
    from nltk.tokenize import RegexpTokenizer

    return RegexpTokenizer(r"\w+")


def sentences(text: str) -> list[str]:
    """As NLTK's Punkt splits them without training.

    The published evaluation uses parameters trained on English news. Those know abbreviations, so
    that `Mr. Smith` is not divided there, and is here.
    """
    return list(map(str, _punkt().tokenize(text)))


@lru_cache(maxsize=1)
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    return PunktSentenceTokenizer()


def number_sentences(args: Args) -> Check:
    """Less than, or at least, so many sentences."""
    fits = args.bound("num_sentences", "relation")
    return lambda text: fits(len(sentences(text)))


def number_words(args: Args) -> Check:
    """Less than, or at least, so many words."""
    fits = args.bound("num_words", "relation")
    return lambda text: fits(number_of_words(text))


def number_paragraphs(args: Args) -> Check:
    """Exactly so many paragraphs divided by `***`.

    Nothing before the first divider or after the last is no paragraph; nothing between two fails.
    """
    number = args.count("num_paragraphs")

    def follows(text: str) -> bool:
        filled = [bool(part.strip()) for part in _DIVIDER.split(text)]
        return all(filled[1:-1]) and sum(filled) == number

    return follows


def nth_paragraph_first_word(args: Args) -> Check:
    """Exactly so many paragraphs divided by an empty line, the n-th beginning with a word.

    Blank pieces are not counted as paragraphs, but keep their place when the n-th is looked up, as
    published: three newlines in a row move what follows one place on.
    """
    number = args.count("num_paragraphs", least=1)
    nth = args.count("nth_paragraph", least=1)
    word = args.text("first_word").lower()
    if nth > number:
        raise args.wrong("nth_paragraph", f"at most num_paragraphs={number}")

    def follows(text: str) -> bool:
        pieces = [piece.strip() for piece in text.split("\n\n")]
        if sum(map(bool, pieces)) != number or not pieces[nth - 1]:
            return False
        first = pieces[nth - 1].split()[0].lstrip("'").lstrip('"')
        return _ENDS_FIRST_WORD.split(first, maxsplit=1)[0].lower() == word

    return follows
