"""Text that arrives token by token is the text that arrives at once."""

import pytest

from burnish.text.chat import decode
from burnish.text.stream import TextStream
from tests.tiny import tiny_tokenizer


@pytest.mark.parametrize("text", ["plain words, 12.5\n", "naïve 東京 🧑‍🚀 done", "🙂", ""])
def test_pieces_join_to_the_whole_text_and_hold_only_whole_characters(text: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    stream = TextStream(tokenizer)
    pieces = [stream.push(i) for i in ids]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces) and stream.end() == ""


def test_bytes_that_never_become_a_character_come_at_the_end() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("a🙂", add_special_tokens=False)[:-1]
    stream = TextStream(tokenizer)
    assert "".join(stream.push(i) for i in ids) == "a"
    assert "a" + stream.end() == decode(ids, tokenizer)


def test_the_token_that_ends_a_turn_is_no_text() -> None:
    tokenizer = tiny_tokenizer()
    stream = TextStream(tokenizer)
    assert stream.push(int(tokenizer.eos_token_id)) == "" and stream.end() == ""
