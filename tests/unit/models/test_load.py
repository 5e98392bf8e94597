"""Opening and writing models: what is damaged, incomplete or pickled is refused in one line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from burnish.engine.text_model import TextModel
from burnish.errors import ModelError
from burnish.models.load import open_causal_lm, open_head, save_causal_lm
from tests.tiny import tiny_llama, tiny_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def refusal(directory: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_causal_lm(directory, "float32")
    text = str(caught.value)
    assert str(directory) in text and "\n" not in text
    return text


def change(directory: Path, **named: torch.Tensor | None) -> None:
    """Replace weights whose name ends so, or take them out."""
    file = directory / "model.safetensors"
    weights = load_file(file)
    for end, value in named.items():
        name = next(n for n in weights if end in n)
        if value is None:
            del weights[name]
        else:
            weights[name] = value
    save_file(weights, file, metadata={"format": "pt"})


def test_truncated_weights_are_refused(directory: Path) -> None:
    file = directory / "model.safetensors"
    raw = file.read_bytes()
    for size in (0, 5, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:size])
        assert "cannot open the model" in refusal(directory)


def test_missing_weights_are_refused_and_not_drawn_at_random(directory: Path) -> None:
    change(directory, q_proj=None)
    assert "1 weights are not there, such as model.layers.0.self_attn.q_proj" in refusal(directory)


def test_weights_of_another_shape_are_refused(directory: Path) -> None:
    change(directory, q_proj=torch.ones(8, 32))
    assert "cannot open the model" in refusal(directory)


def test_weights_that_are_not_finite_are_refused(directory: Path) -> None:
    change(directory, q_proj=torch.full((32, 32), float("nan")))
    assert "not finite" in refusal(directory)


def test_pickled_weights_are_refused_even_beside_a_safetensors_head(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    assert "pickled weights are never loaded" in refusal(directory)
    save_file({"weight": torch.ones(1, 32)}, directory / "head.safetensors")
    assert "cannot open the model" in refusal(directory)


def test_a_damaged_or_unknown_config_is_refused(directory: Path) -> None:
    config = directory / "config.json"
    text = config.read_text()
    config.write_text(text[:40])
    refusal(directory)
    config.write_text(json.dumps(json.loads(text) | {"model_type": "lama"}))
    assert "lama" in refusal(directory)
    config.unlink()
    assert "no config.json" in refusal(directory)


def test_a_damaged_head_is_refused(directory: Path) -> None:
    with pytest.raises(ModelError, match="a reward model was expected"):
        open_head(directory)
    file = directory / "head.safetensors"
    file.write_bytes(b"12345")
    with pytest.raises(ModelError, match="damaged"):
        open_head(directory)
    save_file({"bias": torch.ones(1)}, file)
    with pytest.raises(ModelError, match="damaged"):
        open_head(directory)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_saving_and_opening_gives_the_same_bits(
    directory: Path, tmp_path: Path, precision: str
) -> None:
    text = TextModel.open(directory, precision)  # type: ignore[arg-type]
    head = nn.Linear(32, 1)
    save_causal_lm(text.model, tmp_path / "a", tokenizer_from=directory, head=head)
    again = TextModel.open(tmp_path / "a", precision)  # type: ignore[arg-type]
    before, after = text.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(open_head(tmp_path / "a").weight, head.weight)
    assert again.tokenizer.get_vocab() == text.tokenizer.get_vocab()
    assert again.tokenizer.chat_template == text.tokenizer.chat_template
    save_causal_lm(again.model, tmp_path / "b", tokenizer_from=tmp_path / "a", head=head)
    for name in ("model.safetensors", "head.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_padding_token_learns_as_an_input_too(directory: Path) -> None:
    # pad == eos in this tokenizer, as in SmolLM2's: a turn's end is read as well as written.
    model = open_causal_lm(directory, "float32")
    pad = int(model.config.pad_token_id)
    embedding = model.get_input_embeddings()
    embedding(torch.tensor([pad, 5])).sum().backward()
    assert torch.equal(embedding.weight.grad[pad], torch.ones(32))
