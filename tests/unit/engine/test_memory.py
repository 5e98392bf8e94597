"""Predicted bytes against tensors that are really there, and against sums done by hand."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from burnish.algos.batch import Loss
from burnish.engine.memory import PIECES, Held, bytes_held, lora_params, peak_bytes
from burnish.engine.optim import Optim
from burnish.engine.split_master import SplitMaster
from burnish.engine.trainer import Trainer
from burnish.models.key_values import KeyValueStore
from burnish.models.lora import LoRA, add_lora
from burnish.models.shape import ModelShape
from burnish.pipeline.artifact import Ref
from tests.tiny import tiny_llama, tiny_tokenizer

MODEL, OTHER = Ref("base", "model"), Ref("other", "model")
LLAMA_8B = ModelShape(
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    intermediate_size=14336,
    vocab_size=128256,
    context=8192,
)


def shape_of(model: torch.nn.Module) -> ModelShape:
    config = model.config
    assert isinstance(config, LlamaConfig)
    return ModelShape(
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        intermediate_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        tied_head=config.tie_word_embeddings,
    )


def test_parameters_of_a_large_model_are_those_of_its_definition() -> None:
    config = LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=128256, max_position_embeddings=8192,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert LLAMA_8B.num_params == sum(p.numel() for p in model.parameters()) == 8_030_261_248


def test_optimiser_state_is_what_training_holds() -> None:
    model = tiny_llama(tiny_tokenizer()).to(torch.bfloat16)
    trainer = Trainer(model, Optim(lr=1e-3), num_steps=1)
    trainer.step([Loss(sum(p.float().square().sum() for p in model.parameters()))])
    parts = trainer.optim._split.values()
    assert all(isinstance(part, SplitMaster) and part._moments for part in parts)
    held = sum(
        t.numel() * t.element_size() for part in parts for t in (part._rest, *(part._moments or ()))
    )
    shapes = {MODEL: shape_of(model)}
    weights = bytes_held(Held(models=(MODEL,)), shapes, gpu=False)
    assert weights == sum(p.numel() * 2 for p in model.parameters())
    trained = bytes_held(Held(models=(MODEL,), trained=MODEL), shapes, gpu=False)
    assert trained - weights == held


def test_a_gradient_of_several_slices_is_twice_as_wide() -> None:
    shapes = {MODEL: LLAMA_8B}
    one = Held(models=(MODEL,), trained=MODEL, gradients=True, step_tokens=2048, micro_tokens=2048)
    several = replace(one, step_tokens=8192)
    more = bytes_held(several, shapes, gpu=False) - bytes_held(one, shapes, gpu=False)
    assert more == pytest.approx((1 + PIECES) * 2 * LLAMA_8B.num_params)


def test_a_value_function_has_an_optimiser_of_its_own() -> None:
    shapes = {MODEL: LLAMA_8B, OTHER: replace(LLAMA_8B, num_layers=16)}
    policy = Held(models=(MODEL, OTHER), trained=MODEL, lora_rank=8, gradients=True)
    more = bytes_held(replace(policy, critic=OTHER), shapes, gpu=False)
    alone = Held(models=(OTHER,), trained=OTHER, gradients=True)
    weights = 2 * shapes[OTHER].num_params
    assert more - bytes_held(policy, shapes, gpu=False) == pytest.approx(
        bytes_held(alone, shapes, gpu=False) - (1 + PIECES) * weights
    )


def test_training_on_a_gpu_takes_eighteen_bytes_a_weight() -> None:
    """bfloat16 weights, and float32 master, two moments and gradient."""
    held = Held(models=(MODEL,), trained=MODEL, gradients=True)
    assert bytes_held(held, {MODEL: LLAMA_8B}, gpu=True) == 18 * LLAMA_8B.num_params


def test_the_store_of_completions_in_progress_is_what_the_sampler_makes() -> None:
    model = tiny_llama(tiny_tokenizer())
    shape = shape_of(model)
    store = KeyValueStore(slots=5, capacity=40)
    like = torch.zeros(shape.kv_heads, 1, shape.head_width, dtype=torch.bfloat16)
    for layer in range(shape.num_layers):
        store.write(layer, 0, like, like)
    there = sum(
        t.numel() * t.element_size() for n in range(shape.num_layers) for t in store.layer(n)
    )
    held = Held(models=(MODEL,), sampled=MODEL, rows=5, row_tokens=40)
    logits = 5 * shape.vocab_size * (2 + 8)
    weights = bytes_held(Held(models=(MODEL,)), {MODEL: shape}, gpu=True)
    assert bytes_held(held, {MODEL: shape}, gpu=True) == weights + there + logits


def test_adapters_are_counted_as_peft_makes_them() -> None:
    model = tiny_llama(tiny_tokenizer())
    shape = shape_of(model)
    adapted = add_lora(model, LoRA(rank=4), 0)
    found = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert lora_params(shape, 4) == found


def test_the_largest_moment_counts_and_a_model_of_unknown_shape_leaves_it_unknown() -> None:
    small, large = Held(models=(MODEL,)), Held(models=(MODEL, MODEL, MODEL, MODEL))
    found = peak_bytes([small, large], {MODEL: LLAMA_8B}, gpu=True)
    assert found == pytest.approx(4 * 2 * LLAMA_8B.num_params)
    twice = replace(small, after_another=True)
    more = peak_bytes([twice], {MODEL: LLAMA_8B}, gpu=False)
    assert more == pytest.approx((3 + 2) * 2 * LLAMA_8B.num_params)
    assert peak_bytes([Held(models=(OTHER,))], {MODEL: LLAMA_8B}, gpu=True) is None
