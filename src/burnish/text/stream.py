"""Text of a completion while it is being sampled, token by token."""

from transformers import PreTrainedTokenizerFast

from burnish.text.chat import decode

_CUT = "\ufffd"
"""What a decoder writes for bytes that are no whole character yet."""


class TextStream:
    """Tokens in, text out. A character spread over several tokens comes out with its last one."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        """The text that is certain now and was not before."""
        # All ids are decoded each time, since what a token reads as may depend on those before it.
        self._ids.append(token)
        return self._take(decode(self._ids, self._tokenizer).rstrip(_CUT))

    def end(self) -> str:
        """What was held back: bytes that never became a character."""
        return self._take(decode(self._ids, self._tokenizer))

    def _take(self, text: str) -> str:
        new, self._given = text[self._given :], max(self._given, len(text))
        return new
