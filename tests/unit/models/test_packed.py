"""Packed weights multiply as the layers themselves do."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.kernels import product
from burnish.kernels.numbers import torch_multiplies_bfloat16
from burnish.models import packed
from burnish.models.fused import join_weights, joined_linear
from burnish.models.packed import Packed
from burnish.models.products import linear

BF16 = torch.bfloat16


def layer(inputs: int, outputs: int, *, bias: bool = False) -> nn.Linear:
    torch.manual_seed(outputs)
    return nn.Linear(inputs, outputs, bias=bias, dtype=BF16)


def one_layer(size: int, *, bias: bool = False) -> Any:
    """What `Packed` reads of a decoder."""
    heads = {f"{name}_proj": layer(size, size, bias=bias) for name in "qkvo"}
    unit = {f"{name}_proj": layer(size, 2 * size) for name in ("gate", "up")}
    unit["down_proj"] = layer(2 * size, size)
    join_weights([heads[f"{name}_proj"] for name in "qkv"])
    join_weights([unit["gate_proj"], unit["up_proj"]])
    attention, mlp = SimpleNamespace(**heads), SimpleNamespace(**unit)
    return SimpleNamespace(layers=[SimpleNamespace(self_attn=attention, mlp=mlp)])


def products(decoder: Any, head: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Each product by packed weights and by the layers."""
    made, x = Packed(decoder, head, rows=3), torch.randn(3, size).to(BF16)
    wide = torch.randn(3, 2 * size).to(BF16)
    found = [(made.logits(x, head), linear(x, head))]
    for layers in packed._products(decoder):
        given = wide if layers[0].in_features == 2 * size else x
        found.append((made.linear(given, layers), joined_linear(given, layers)))
    return found


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("size", [32, 24])  # panels of 16 or 32 outputs fit the first only
@torch.no_grad()
def test_products(ours: bool, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if ours and product.form_here() is None:
        monkeypatch.setattr(product, "form_here", lambda: product.WIDENED)
    elif not ours:
        monkeypatch.setattr(product, "form_here", lambda: None)
    for bias in (False, True):
        for got, wanted in products(one_layer(size, bias=bias), layer(size, 96).weight, size):
            torch.testing.assert_close(got, wanted, rtol=2**-7, atol=1e-3)


def test_which_product_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(outputs: int) -> object:
        found = packed._pack(torch.zeros(outputs, 6, dtype=BF16), 3)
        return found and found.func

    monkeypatch.setattr(product, "form_here", lambda: product.PAIRS)
    assert function(64) is product.product
    monkeypatch.setattr(packed, "torch_multiplies_bfloat16", lambda: False)
    assert function(48) is None, "the layer's own product in float32"
    if torch_multiplies_bfloat16():
        monkeypatch.undo()
        monkeypatch.setattr(product, "form_here", lambda: None)
        assert function(64) is packed._by_torch


def test_weights_in_float32_are_left_as_they_are() -> None:
    x, head = torch.randn(3, 8), torch.randn(32, 8)
    made = Packed(one_layer(8), head, rows=3)
    assert torch.equal(made.logits(x, head), nn.functional.linear(x, head))
