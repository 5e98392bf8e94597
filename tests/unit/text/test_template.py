"""Templates that ship train the right tokens, and a locked one cannot change unnoticed."""

from pathlib import Path

import pytest

from burnish.errors import TemplateError
from burnish.text.chat import encode, encode_prompt
from burnish.text.template import (
    check_template,
    packaged_templates,
    read_template,
    set_template,
    sha256_of,
)
from burnish.text.tokenizer import load_tokenizer
from burnish.types import Conversation, Message
from tests.tiny import CHATML
from tests.unit.cli.tiny_model import write_model

TALK = Conversation(
    messages=(
        Message(role="system", content="Be kind."),
        Message(role="user", content="Why?"),
        Message(role="assistant", content="Because."),
        Message(role="user", content="So?"),
        Message(role="assistant", content="So."),
    )
)


@pytest.mark.parametrize("name", packaged_templates())
def test_answers_and_what_ends_them_are_all_that_a_packaged_template_trains(
    name: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "model", template=None)
    set_template(path, read_template(name))
    tokenizer = load_tokenizer(path)
    encoded = encode(TALK, tokenizer)
    trained = tokenizer.decode([i for i, m in zip(encoded.ids, encoded.mask, strict=True) if m])
    plain = trained.replace("<|im_end|>", " ")
    assert plain.split() == ["Because.", "So."], trained
    start = Conversation(messages=TALK.messages[:4])
    stem = encode_prompt(start, tokenizer)
    assert encoded.ids[: len(stem)] == stem


def test_a_template_beside_the_tokenizer_goes_before_its_own(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model", template=CHATML)
    check_template(load_tokenizer(path), sha256_of(CHATML))
    set_template(path, read_template("tulu"))
    check_template(load_tokenizer(path), sha256_of(read_template("tulu")))
    with pytest.raises(TemplateError, match="its chat template has SHA-256"):
        check_template(load_tokenizer(path), sha256_of(CHATML))


def test_a_model_without_a_template_is_told_how_to_get_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model", template=None)
    with pytest.raises(TemplateError, match=r"has no chat template.*name the one to use"):
        check_template(load_tokenizer(path), sha256_of(CHATML))
    with pytest.raises(TemplateError, match="did you mean `tulu`"):
        read_template("tulo")
