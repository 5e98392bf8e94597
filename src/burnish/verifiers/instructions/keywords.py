"""Words and letters that must, or must not, be there.

Keywords are searched for as the published evaluation does: as regular expressions, without regard
to case, and, save for forbidden ones, inside other words too (`peace` is in `peaceful`).
"""

from burnish.verifiers.instructions.args import Args, Check


def existence(args: Args) -> Check:
    """Every keyword appears."""
    patterns = [args.pattern(word, name="keywords") for word in args.texts("keywords")]
    return lambda text: all(p.search(text) for p in patterns)


def frequency(args: Args) -> Check:
    """A keyword appears less than, or at least, so many times."""
    fits = args.bound("frequency", "relation")
    pattern = args.pattern(args.text("keyword"), name="keyword")
    return lambda text: fits(sum(1 for _ in pattern.finditer(text)))


def forbidden_words(args: Args) -> Check:
    """None of the words appears as a whole word."""
    patterns = [
        args.pattern(rf"\b{word}\b", name="forbidden_words")
        for word in args.texts("forbidden_words")
    ]
    return lambda text: not any(p.search(text) for p in patterns)


def letter_frequency(args: Args) -> Check:
    """A letter, or any other character, appears less than, or at least, so many times."""
    fits = args.bound("let_frequency", "let_relation")
    letter = args.text("letter").lower()
    if len(args.text("letter")) != 1:
        raise args.wrong("letter", "one character")
    return lambda text: fits(text.lower().count(letter))
