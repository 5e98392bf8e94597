"""Packed weights multiply as the layers themselves do, and a layer in one call as in many."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from burnish.kernels import product
from burnish.kernels.numbers import torch_multiplies_bfloat16
from burnish.kernels.product import Panels
from burnish.models import packed
from burnish.models.attention import Decoding, Ragged
from burnish.models.fused import joined_linear
from burnish.models.key_values import KeyValueStore
from burnish.models.layers import decoded_hidden, join_layers, last_hidden
from burnish.models.packed import Packed
from burnish.models.products import linear

BF16 = torch.bfloat16
CPU = torch.device("cpu")


def made(kind: str, size: int, **others: Any) -> Any:
    """A decoder of two layers and two heads, in bfloat16; every parameter is random."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=96, hidden_size=size, intermediate_size=2 * size, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, **others,
    )  # fmt: skip
    torch.manual_seed(size)
    decoder = getattr(transformers, f"{kind}Model")(config)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.15)
    decoder = decoder.to(BF16).eval()
    join_layers(decoder)
    return decoder


def head(size: int, dtype: torch.dtype = BF16) -> Tensor:
    return torch.randn(96, size, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of ours, also where torch's product would serve."""
    if product.form_here() is None:
        monkeypatch.setattr(product, "form_here", lambda: product.WIDENED)


def compare_products(decoder: Any, size: int) -> None:
    """Each product by packed weights and by the layers."""
    weight = head(size)
    own, x, wide = Packed(decoder, weight, rows=3), torch.randn(3, size), torch.randn(3, 2 * size)
    found = [(own.logits(x.to(BF16), weight), linear(x.to(BF16), weight))]
    for layers in packed.products_of(decoder.layers[0]):
        given = (wide if layers[0].in_features == 2 * size else x).to(BF16)
        found.append((own.linear(given, layers), joined_linear(given, layers)))
    for got, wanted in found:
        torch.testing.assert_close(got, wanted, rtol=2**-7, atol=1e-2)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [32, 24])  # panels of 16 or 32 outputs fit the first only
@torch.no_grad()
def test_products_by_our_loops(size: int, bias: bool, ours: None) -> None:
    compare_products(made("Llama", size, attention_bias=bias), size)


@pytest.mark.parametrize("size", [32, 24])
@torch.no_grad()
def test_products_by_torch(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "form_here", lambda: None)
    compare_products(made("Llama", size), size)


def test_which_product_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(outputs: int) -> object:
        return type(packed._pack(torch.zeros(outputs, 6, dtype=BF16), 3))

    monkeypatch.setattr(product, "form_here", lambda: product.PAIRS)
    assert kind(64) is Panels
    monkeypatch.setattr(packed, "torch_multiplies_bfloat16", lambda: False)
    assert kind(48) is type(None), "the layer's own product in float32"
    if torch_multiplies_bfloat16():
        monkeypatch.undo()
        monkeypatch.setattr(product, "form_here", lambda: None)
        assert kind(64) not in (Panels, type(None))


def test_weights_in_float32_are_left_as_they_are() -> None:
    x, weight = torch.randn(3, 32), head(32, torch.float32)
    own = Packed(LlamaModel(LlamaConfig(num_hidden_layers=0, vocab_size=96)), weight, rows=3)
    assert torch.equal(own.logits(x, weight), nn.functional.linear(x, weight))
    assert own.layers is None


@pytest.mark.parametrize("kind", ["Llama", "Mistral"])
@torch.no_grad()
def test_a_layer_in_one_call_gives_the_same_bits(kind: str, ours: None) -> None:
    decoder = made(kind, 64)
    own = Packed(decoder, head(64), rows=3)
    assert own.layers is not None
    prompts, stores = [5, 1, 9], [KeyValueStore(slots=3, capacity=16) for _ in range(2)]
    tokens = torch.arange(sum(prompts)) * 7 % 96
    for store in stores:
        copies = tuple((slot,) for slot in range(3))
        layout = Ragged.of([(0, [n]) for n in prompts], CPU, store=store, copies=copies)
        last_hidden(decoder, tokens[None], layout, own.linear)
    for step in range(3):
        given = torch.tensor([[3 + step], [50], [80 - step]])
        positions = torch.tensor([[n + step] for n in prompts])
        apart, whole = (Decoding(store, positions, int(positions.max()) + 1) for store in stores)
        wanted = last_hidden(decoder, given, apart, own.linear)
        found = decoded_hidden(decoder, given, whole, own.layers)
        assert found.shape == (3, 1, 64) and bool(found.isfinite().all())
        assert torch.equal(found, wanted)
    for number in range(2):
        for one, other in zip(stores[0].layer(number), stores[1].layer(number), strict=True):
            assert torch.equal(one, other), "keys and values of the new tokens"


@pytest.mark.parametrize(
    ("kind", "others"),
    [("Qwen3", {"head_dim": 32}), ("Qwen2", {}), ("Llama", {"attention_bias": True})],
)
def test_layers_that_do_more_run_in_many_calls(
    kind: str, others: dict[str, Any], ours: None
) -> None:
    assert Packed(made(kind, 64, **others), head(64), rows=3).layers is None
