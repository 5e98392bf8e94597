"""A model cut to its first layers computes what those layers compute, and is saved as such."""

from pathlib import Path

import pytest
import torch

from burnish.errors import ConfigError
from burnish.models.depth import keep_layers
from burnish.models.load import open_causal_lm, save_causal_lm
from tests.unit.cli.tiny_model import write_model


def test_the_first_layers_are_kept_with_their_weights_and_the_config_says_so(
    tmp_path: Path,
) -> None:
    path = write_model(tmp_path / "tiny")
    whole = open_causal_lm(path, "float32")
    cut = open_causal_lm(path, "float32")
    keep_layers(cut, 1)
    save_causal_lm(cut, tmp_path / "cut", tokenizer_from=path)
    again = open_causal_lm(tmp_path / "cut", "float32")
    assert again.config.num_hidden_layers == 1  # type: ignore[union-attr]
    names = dict(whole.named_parameters())
    kept = dict(again.named_parameters())
    assert 0 < len(kept) < len(names)
    assert all(torch.equal(value, names[name]) for name, value in kept.items())


@pytest.mark.parametrize("num", [0, 3])
def test_more_layers_than_there_are_cannot_be_kept(tmp_path: Path, num: int) -> None:
    model = open_causal_lm(write_model(tmp_path / "tiny"), "float32")
    with pytest.raises(ConfigError, match=f"num_layers={num}: the model has 2"):
        keep_layers(model, num)
