"""The Llama family's layers in few steps against transformers' own, each document by itself."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn

from burnish.engine.text_model import TextModel
from burnish.models import attention, layers
from burnish.models.attention import Ragged
from burnish.models.fused import _follow_one_another
from burnish.models.layers import join_layers, runs_here
from burnish.models.load import open_causal_lm, save_causal_lm
from burnish.models.lora import LoRA, add_lora
from burnish.models.policy import decoder, hidden_states
from burnish.models.tree_attention import BLOCK
from tests.tiny import tiny_tokenizer

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 90,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
FAMILY = {
    "Llama": SIZES,
    "Llama with biases": SIZES | {"attention_bias": True, "mlp_bias": True},
    "Llama, one key head each": SIZES | {"num_key_value_heads": 6, "head_dim": 16},
    "Qwen2": SIZES,
    "Qwen3": SIZES | {"head_dim": 20},
    "Mistral": SIZES | {"sliding_window": None, "head_dim": 16, "tie_word_embeddings": True},
}
Shape = tuple[int, Sequence[int]]
LAYOUTS: dict[str, list[Shape]] = {
    "a token": [(0, [1])],
    "packed": [(0, [5]), (0, [33]), (0, [BLOCK + 44]), (0, [31]), (0, [64]), (0, [BLOCK])],
    "trees": [(7, [4, 1, 9]), (BLOCK + 3, [20, 50]), (1, [1, 1]), (3, [BLOCK + 1, 5]), (0, [12])],
}


def build(name: str, seed: int = 0) -> nn.Module:
    """A model of the family with transformers' own attention; every parameter is random."""
    kind = name.partition(",")[0].partition(" ")[0]
    config = getattr(transformers, f"{kind}Config")(**FAMILY[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        for parameter in model.parameters():
            nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.15)
    return model.float().eval()


def tokens_of(trees: Sequence[Shape]) -> Tensor:
    total = sum(stem + sum(branches) for stem, branches in trees)
    return torch.arange(total) * 7919 % 83 + 3


def naive(model: nn.Module, trees: Sequence[Shape], tokens: Tensor) -> Tensor:
    """Last hidden states in the order of the layout, every document alone."""
    found, start = [], 0
    for stem, branches in trees:
        shared = tokens[start : start + stem]
        start += stem
        for number, length in enumerate(branches):
            ids = torch.cat([shared, tokens[start : start + length]])
            start += length
            out = decoder(model)(input_ids=ids[None], use_cache=False).last_hidden_state[0]
            found.append(out[0 if number == 0 else stem :])
    return torch.cat(found)


def gradients(model: nn.Module, hidden: Tensor) -> dict[str, Tensor]:
    """Of every trained parameter below the head, for a loss in all hidden states."""
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(5))
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad and "lm_head" not in n]
    (hidden * weights).sum().backward()  # type: ignore[no-untyped-call]
    found = {}
    for name, parameter in named:
        assert parameter.grad is not None, name
        found[name] = parameter.grad
    return found


def assert_equal(own: nn.Module, fast: nn.Module, trees: Sequence[Shape]) -> None:
    """Hidden states and every gradient, to 1e-5 of their norm."""
    tokens = tokens_of(trees)
    wanted = naive(own, trees, tokens)
    found = hidden_states(fast, tokens[None], Ragged.of(trees, CPU))[0]
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    one, other = gradients(fast, found), gradients(own, wanted)
    assert one.keys() == other.keys() and len(one) >= 20
    # Over one token attention has no gradient in queries and keys: only rounding is left of it.
    scale = max(float(g.norm()) for g in other.values())
    for name, gradient in other.items():
        assert (one[name] - gradient).norm() <= 1e-5 * gradient.norm() + 5e-7 * scale, name


def fast_and_own(name: str) -> tuple[nn.Module, nn.Module]:
    own = build(name)
    fast = copy.deepcopy(own)
    fast.set_attn_implementation(attention.NAME)  # type: ignore[operator]
    assert runs_here(decoder(fast))
    return fast, own


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FAMILY)
def test_hidden_states_and_gradients_are_those_of_each_document_alone(
    name: str, layout: str, joined: bool
) -> None:
    fast, own = fast_and_own(name)
    if joined:
        join_layers(decoder(fast))
    unit = decoder(fast).layers[0].mlp  # type: ignore[index,union-attr]
    together = _follow_one_another([unit.gate_proj.weight, unit.up_proj.weight])
    assert together == joined or name == "Llama with biases"
    assert_equal(own, fast, LAYOUTS[layout])


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("targets", [LoRA().targets, ("q_proj", "down_proj")])
@pytest.mark.parametrize("name", ["Llama", "Qwen2", "Qwen3"])
def test_adapters_give_the_gradients_of_each_document_alone(
    name: str, targets: tuple[str, ...], joined: bool
) -> None:
    fast, own = fast_and_own(name)
    if joined:
        join_layers(decoder(fast))
    trained = []
    for model in (fast, own):
        with_adapter = add_lora(model, LoRA(rank=4, targets=targets), seed=3)
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for key, parameter in with_adapter.named_parameters():
                if "lora_B" in key:  # begins at zero, where A has no gradient
                    parameter.normal_(std=0.1, generator=generator)
        trained.append(with_adapter)
    names = [n for n, p in trained[0].named_parameters() if p.requires_grad]
    assert len(names) == 2 * 2 * len(targets) and all("lora" in n for n in names)
    wanted, trees = LAYOUTS["trees"], LAYOUTS["packed"]
    for shapes in (wanted, trees):
        for model in trained:
            model.zero_grad()
        tokens = tokens_of(shapes)
        expected = naive(trained[1], shapes, tokens)
        found = hidden_states(trained[0], tokens[None], Ragged.of(shapes, CPU))[0]
        assert (found - expected).norm() <= 1e-5 * expected.norm()
        one, other = gradients(trained[0], found), gradients(trained[1], expected)
        for key, gradient in other.items():
            assert (one[key] - gradient).norm() <= 1e-5 * gradient.norm(), key


def test_frozen_weights_get_no_gradient_and_cost_none_to_their_inputs() -> None:
    fast, own = fast_and_own("Llama")
    join_layers(decoder(fast))
    for model in (fast, own):
        for key, parameter in model.named_parameters():
            parameter.requires_grad_("k_proj" in key or "norm" in key)
    trees, tokens = LAYOUTS["trees"], tokens_of(LAYOUTS["trees"])
    found = hidden_states(fast, tokens[None], Ragged.of(trees, CPU))[0]
    one, other = gradients(fast, found), gradients(own, naive(own, trees, tokens))
    assert len(one) == 2 + 2 * 2 + 1
    for key, gradient in other.items():
        assert (one[key] - gradient).norm() <= 1e-5 * gradient.norm(), key
    assert all(p.grad is None for p in fast.parameters() if not p.requires_grad)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_whose_weights_are_joined_is_saved_whole_and_once(
    tmp_path: Path, name: str, precision: str
) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "own")
    own = build(name).to({"float32": torch.float32, "bfloat16": torch.bfloat16}[precision])
    own.save_pretrained(tmp_path / "own")
    opened = open_causal_lm(tmp_path / "own", precision)  # type: ignore[arg-type]
    save_causal_lm(opened, tmp_path / "again", tokenizer_from=tmp_path / "own")
    before, after = weights_in(tmp_path / "own"), weights_in(tmp_path / "again")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    size = sum(t.numel() * t.element_size() for t in after.values())
    on_disk = sum(f.stat().st_size for f in (tmp_path / "again").glob("*.safetensors"))
    assert size < on_disk < size + 20_000  # names and shapes
    reopened = open_causal_lm(tmp_path / "again", precision)  # type: ignore[arg-type]
    found = dict(reopened.named_parameters())
    for key, parameter in opened.named_parameters():
        assert torch.equal(parameter, found[key]), key


def weights_in(path: Path) -> dict[str, Tensor]:
    """Every tensor of a model's files."""
    found: dict[str, Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            names = opened.keys()
            assert not set(names) & found.keys()
            found |= {key: opened.get_tensor(key) for key in names}
    return found


def test_merged_adapters_of_a_joined_model_are_saved_as_what_it_computes(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "own")
    build("Llama").save_pretrained(tmp_path / "own")
    text = TextModel.open(tmp_path / "own", "float32", lora=LoRA(rank=4), seed=1)
    with torch.no_grad():
        for key, parameter in text.model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(4))
    trees, tokens = LAYOUTS["trees"], tokens_of(LAYOUTS["trees"])
    with torch.no_grad():
        wanted = hidden_states(text.model, tokens[None], Ragged.of(trees, CPU))
        text.save(tmp_path / "merged")
        merged = open_causal_lm(tmp_path / "merged", "float32")
        found = hidden_states(merged, tokens[None], Ragged.of(trees, CPU))
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    assert weights_in(tmp_path / "own").keys() == weights_in(tmp_path / "merged").keys()


def test_a_copy_of_a_joined_model_is_not_joined_and_computes_the_same() -> None:
    fast, _ = fast_and_own("Llama")
    join_layers(decoder(fast))
    apart = copy.deepcopy(fast)
    trees, tokens = LAYOUTS["trees"], tokens_of(LAYOUTS["trees"])
    with torch.no_grad():
        for parameter in apart.parameters():
            parameter += 0  # its own memory
        one, other = (
            hidden_states(m, tokens[None], Ragged.of(trees, CPU))[0] for m in (fast, apart)
        )
    assert (one - other).norm() <= 1e-5 * one.norm()
    attention_of = decoder(apart).layers[0].self_attn  # type: ignore[index,union-attr]
    assert not _follow_one_another([attention_of.q_proj.weight, attention_of.k_proj.weight])


def test_what_is_of_another_family_runs_by_its_own_forward() -> None:
    fast, _ = fast_and_own("Llama")
    below = decoder(fast)
    assert runs_here(below) and layers.runs_here(below.bfloat16())
    assert not runs_here(below.double())
    below.float().config.hidden_act = "gelu"  # type: ignore[union-attr]
    assert not runs_here(below)


def test_heads_of_a_size_that_the_loops_do_not_take_run_by_the_models_own_forward() -> None:
    fast, _ = fast_and_own("Llama")
    below = decoder(fast)
    below.layers[0].self_attn.head_dim = 6  # type: ignore[index,union-attr]
    assert not runs_here(below)
