"""Products of bfloat16 made in float32: exact but for one rounding, with their gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from burnish.algos.kl import exact_kl
from burnish.models import products
from burnish.models.divergence import divergences
from burnish.models.load import open_causal_lm, save_causal_lm
from burnish.models.lora import LoRA, add_lora
from burnish.models.policy import Forest, Tree, head_weight, score_trees
from burnish.models.products import (
    WideLinear,
    factor,
    has_to_widen,
    linear,
    product,
    widen_linears,
)
from tests.tiny import tiny_llama, tiny_tokenizer

BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that cannot multiply bfloat16."""
    monkeypatch.setattr(products, "torch_multiplies_bfloat16", lambda: False)


def normal(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize(
    ("multiply", "x", "y"),
    [
        (product, normal(5, 64), normal(64, 7)),
        (product, normal(64, 5).T, normal(7, 64).T),
        (product, normal(3, 5, 64), normal(3, 64, 7)),
        (lambda x, y: linear(x, y.T), normal(5, 64), normal(64, 7)),
    ],
)
def test_a_product_is_rounded_once(
    multiply: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> None:
    found = multiply(x, y)
    assert found.dtype == BF16
    exact = x.double() @ y.double()
    half = exact.abs() * 2.0**-8  # of the last place of bfloat16, at most
    rounding = 64 * 2.0**-24 * (x.double().abs() @ y.double().abs())
    assert bool(((found.double() - exact).abs() <= half + rounding).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wider_numbers_are_left_as_they_are(dtype: torch.dtype) -> None:
    x, y = normal(5, 8, dtype=dtype), normal(8, 3, dtype=dtype)
    assert not has_to_widen(x)
    assert factor(x) is x
    assert torch.equal(product(x, y), x @ y)


def test_a_processor_with_products_of_bfloat16_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "torch_multiplies_bfloat16", lambda: True)
    x = normal(5, 8)
    assert factor(x) is x
    model = nn.Sequential(nn.Linear(8, 3, dtype=BF16))
    widen_linears(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_layer_and_its_gradients(bias: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 4, bias=bias, dtype=BF16))
    widen_linears(model)
    layer = model[0]
    assert type(layer) is WideLinear
    for parameter in layer.parameters():
        parameter.requires_grad_(not frozen)
    exact = nn.Linear(16, 4, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    slopes, x = normal(2, 3, 4), normal(2, 3, 16).requires_grad_()
    wide = x.detach().double().requires_grad_()
    found, wanted = layer(x), exact(wide)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-6)
    found.backward(slopes)
    wanted.backward(slopes.double())
    pairs = [(x, wide)]
    if not frozen:
        pairs += list(zip(layer.parameters(), exact.parameters(), strict=True))
    for given, full in pairs:
        assert given.grad is not None and full.grad is not None
        assert given.grad.dtype == BF16
        torch.testing.assert_close(given.grad.double(), full.grad, rtol=2**-8, atol=1e-6)
    assert not frozen or all(p.grad is None for p in layer.parameters())


class Narrow(TorchDispatchMode):
    """Counts products, and names those of bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.all, self.narrow = 0, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm", "bmm", "baddbmm", "linear") or "scaled_dot_product" in name:
            self.all += 1
            if any(isinstance(x, Tensor) and x.dtype == BF16 for x in args):
                self.narrow.add(name)
        return func(*args, **(kwargs or {}))


def qwen(size: int) -> nn.Module:
    """A model whose products have biases, so that its own layers make them."""
    config = Qwen2Config(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


@pytest.fixture(params=["llama", "biases", "adapters"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> nn.Module:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    own = qwen(len(tokenizer)) if request.param == "biases" else tiny_llama(tokenizer)
    save_causal_lm(own, tmp_path / "made", tokenizer_from=tmp_path / "tokenizer")
    found = open_causal_lm(tmp_path / "made", "bfloat16")
    return add_lora(found, LoRA(rank=4), seed=0) if request.param == "adapters" else found


TREES = [
    Tree.prompt((1, 2, 3), [(4, 5), (6, 7, 8)]),
    Tree.document(tuple(range(300)), (False,) + (True,) * 299),
]


def test_a_model_multiplies_nothing_in_bfloat16(model: nn.Module) -> None:
    with Narrow() as seen:
        logprobs, _, hidden = score_trees(model, Forest.of(TREES, torch.device("cpu")))
        head = head_weight(model)
        apart, _ = divergences(hidden, head, hidden.detach(), head.detach(), exact_kl)
        (logprobs.sum() + apart.sum()).backward()
    assert seen.all > 20
    assert not seen.narrow


def test_a_model_scores_and_learns_as_in_float32(model: nn.Module) -> None:
    import copy

    exact = copy.deepcopy(model).float()
    found = [score_trees(m, Forest.of(TREES, torch.device("cpu")))[0] for m in (model, exact)]
    torch.testing.assert_close(*found, rtol=0.02, atol=0.05)
    for scores in found:
        scores.mean().backward()
    wanted = {name: p.grad for name, p in exact.named_parameters() if p.grad is not None}
    given = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert given.keys() == wanted.keys() and given
    for name, grad in given.items():
        gap = (grad.to_dense().float() - wanted[name]).norm() / wanted[name].norm().clamp(min=1e-6)
        assert gap < 0.05, name
