import contextlib
import json

import pytest
from tokenizers import processors

from burnish.errors import ModelError, TemplateError
from burnish.text.tokenizer import encode_text, load_tokenizer
from tests.tiny import tiny_tokenizer


def test_a_saved_tokenizer_loads_with_its_template(tmp_path):
    saved = tiny_tokenizer()
    saved.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.chat_template == saved.chat_template
    assert encode_text("Hello 👩‍🚀", loaded) == encode_text("Hello 👩‍🚀", saved)


def test_a_tokenizer_without_eos_is_refused(tmp_path):
    tiny_tokenizer(eos=None, pad=None).save_pretrained(tmp_path)
    with pytest.raises(TemplateError, match="eos_token"):
        load_tokenizer(tmp_path)


def test_a_directory_without_tokenizer_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="not a directory"):
        load_tokenizer(tmp_path / "absent")


def test_remote_code_is_not_run(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    settings["auto_map"] = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    settings["tokenizer_class"] = "Evil"
    config.write_text(json.dumps(settings))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with contextlib.suppress(ModelError):
        load_tokenizer(tmp_path)


def test_plain_text_gets_the_bos_that_the_tokenizer_adds_by_itself():
    tokenizer = tiny_tokenizer(None, bos="<|endoftext|>")
    assert encode_text("Hello", tokenizer)[0] != 0
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert encode_text("Hello", tokenizer)[0] == 0
