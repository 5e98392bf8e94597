"""Shapes: counted from sizes as torch counts them, and checked against the model that is opened."""

from dataclasses import replace
from pathlib import Path

import pytest

from burnish.errors import ConfigError, ModelError
from burnish.models.load import open_causal_lm
from burnish.models.shape import ModelShape, check_shape
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.unit.cli.tiny_model import write_model

LLAMA_8B = ModelShape(
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    intermediate_size=14336,
    vocab_size=128256,
    context=131072,
)


def test_weights_are_counted_as_torch_counts_them(tmp_path: Path) -> None:
    model = tiny_llama(tiny_tokenizer())
    path = write_model(tmp_path / "model")
    assert ModelShape.read(path).num_params == sum(p.numel() for p in model.parameters())
    opened = open_causal_lm(path, "float32")
    assert ModelShape.read(path).num_params == sum(p.numel() for p in opened.parameters())


def test_published_sizes_come_out() -> None:
    assert LLAMA_8B.num_params == 8_030_261_248  # the parameters of Llama 3.1 8B on its card
    assert LLAMA_8B.kv_values_per_token == 2 * 32 * 8 * 128
    tied = replace(LLAMA_8B, tied_head=True)
    assert LLAMA_8B.num_params - tied.num_params == 128256 * 4096
    plain = replace(LLAMA_8B, mlp="plain")
    assert LLAMA_8B.layer_params - plain.layer_params == 4096 * 14336


def test_a_stated_total_goes_before_the_count() -> None:
    mixture = replace(LLAMA_8B, total_params=671_000_000_000, active_params=37_000_000_000)
    assert mixture.num_params == 671_000_000_000
    with pytest.raises(ConfigError, match="active_params must be at most"):
        replace(LLAMA_8B, active_params=9_000_000_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"num_kv_heads": 5}, "num_kv_heads must divide"),
        ({"num_heads": 24, "num_kv_heads": 8}, "head_size must be given"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(LLAMA_8B, **change)  # type: ignore[arg-type]


def test_a_model_of_another_shape_is_refused_by_the_sizes_that_differ(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model", context=256)
    shape = ModelShape.read(path)
    check_shape(shape, path)
    check_shape(replace(shape, head_size=None), path)
    with pytest.raises(ModelError, match=r"context is 256, not 512$"):
        check_shape(replace(shape, context=512), path)


def test_a_directory_without_a_config_has_no_shape(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives no shape"):
        ModelShape.read(tmp_path)
