"""What holds for the whole text: its language and case, how it starts and ends, its parts."""

from functools import lru_cache
from typing import Any

from burnish.verifiers.instructions.args import Args, Check
from burnish.verifiers.instructions.language import codes, is_in
from burnish.verifiers.instructions.length import sentences


def response_language(args: Args) -> Check:
    """The text is in the language of the code, such as `de`."""
    code = args.text("language")
    if code not in codes():
        raise args.wrong("language", f"a language's code ({', '.join(sorted(codes()))})")
    return lambda text: is_in(text, code)


def english_capital(args: Args) -> Check:
    """English, with no small letter."""
    del args
    return lambda text: text.isupper() and is_in(text, "en")


def english_lowercase(args: Args) -> Check:
    """English, with no capital letter."""
    del args
    return lambda text: text.islower() and is_in(text, "en")


def capital_word_frequency(args: Args) -> Check:
    """Less than, or at least, so many words with no small letter; `I` and `A` are such."""
    fits = args.bound("capital_frequency", "capital_relation")
    return lambda text: fits(sum(word.isupper() for word in _tokens(text)))


def _tokens(text: str) -> list[str]:
    """Words as NLTK divides them, sentence by sentence: hyphenated ones are one.

    Sentences without a capital letter are passed over, since dividing them takes most of the time.
    """
    capital = [s for s in sentences(text) if any(map(str.isupper, s))]
    return [token for sentence in capital for token in _treebank().tokenize(sentence)]


@lru_cache(maxsize=1)
def _treebank() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def no_comma(args: Args) -> Check:
    """No `,` at all, not even in a number."""
    del args
    return lambda text: "," not in text


def quotation(args: Args) -> Check:
    """The first character and the last are `"`."""
    del args
    return lambda text: len(text.strip()) > 1 and text.strip()[0] == '"' == text.strip()[-1]


def end_checker(args: Args) -> Check:
    """The text ends with a phrase, in either case; quotation marks around it all do not matter."""
    phrase = args.text("end_phrase").lower()
    return lambda text: text.strip().strip('"').lower().endswith(phrase)


def repeat_prompt(args: Args) -> Check:
    """The text begins with the request, word for word, in either case."""
    request = args.text("prompt_to_repeat").lower()
    return lambda text: text.strip().lower().startswith(request)


def two_responses(args: Args) -> Check:
    """Two different texts divided by `******`; nothing between two dividers fails."""
    del args

    def follows(text: str) -> bool:
        parts = [part.strip() for part in text.split("******")]
        filled = [part for part in parts if part]
        return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]

    return follows
