"""Where the steps of a worked answer end, in tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

CUT = "\ufffd"
"""What a decoder writes for bytes that are no whole letter yet."""
LONGEST_LETTER = 4
"""Bytes of a letter in UTF-8, so at most as many tokens."""


def step_ends(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerFast, separator: str
) -> tuple[int, ...]:
    """Index of each step's last token: the one that completes a separator, or the answer's last.

    Blank steps are none: two separators in a row end one step. An answer without any text has one
    step, at its last token.
    """
    ends: list[int] = []
    step = ""
    for index, piece in enumerate(_pieces(ids, tokenizer)):
        step += piece
        if separator in step:
            before, _, rest = step.rpartition(separator)
            if before.strip():
                ends.append(index)
            step = rest
    if step.strip() or not ends:
        ends.append(len(ids) - 1)
    return tuple(ends)


def _pieces(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """What each token adds to the text. A letter comes with its last token, control tokens add
    nothing."""
    pieces = []
    held: list[int] = []
    for token in ids:
        held.append(token)
        piece = tokenizer.decode(held, skip_special_tokens=True)
        if piece.endswith(CUT) and len(held) < LONGEST_LETTER:
            pieces.append("")
        else:
            pieces.append(piece)
            held = []
    return pieces
