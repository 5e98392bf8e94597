"""What a pass costs, by hand and against torch's own count."""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from burnish.bench.flops import Shape, attended
from tests.tiny import tiny_llama, tiny_tokenizer

# A layer of SmolLM2-135M: queries and outputs 2 * 576 * 576 = 663,552, keys and values
# 2 * 576 * 3 * 64 = 221,184, MLP 3 * 576 * 1536 = 2,654,208; together 3,538,944, times 30 layers.
# The head, which is the input embedding too, has 49,152 * 576.
SMOLLM2 = Shape(layers=30, heads=9, kv_heads=3, head_size=64, body=106_168_320, head=28_311_552)


def test_the_shape_of_smollm2_is_the_one_worked_by_hand() -> None:
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.tie_weights()
    assert Shape.of(model) == SMOLLM2
    assert SMOLLM2.matrices == 134_479_872


def test_a_document_of_512_tokens_costs_smollm2_what_paper_and_pencil_say() -> None:
    # 512 * 513 / 2 = 131,328 pairs of tokens. Forwards: 2 * 106,168,320 * 512 = 108,716,359,680;
    # the head at 511 places: 2 * 28,311,552 * 511 = 28,934,406,144; attention:
    # 4 * 30 * 9 * 64 * 131,328 = 9,077,391,360; together 146,728,157,184, and three times that.
    assert attended(0, [512]) == 131_328
    found = SMOLLM2.training_flops(tokens=512, predicting=511, attended=131_328)
    assert found == 440_184_471_552
    six_n = 6 * SMOLLM2.matrices * 512
    assert 1.06 < found / six_n < 1.07  # attention adds 7 % at this length


def test_a_decoding_step_reads_keys_and_values_of_three_heads() -> None:
    assert SMOLLM2.kv_elements(1) == 2 * 30 * 3 * 64 == 11_520


def test_branches_see_the_stem_and_themselves() -> None:
    # stem of 2: 1 + 2; branch of 1: 2 + 1; branch of 2: (2 + 1) + (2 + 2)
    assert attended(2, [1, 2]) == 3 + 3 + 7
    assert attended(0, [4]) == 10


def test_torch_counts_the_same_operations() -> None:
    model = tiny_llama(tiny_tokenizer())
    model.set_attn_implementation("eager")  # which multiplies what the mask hides, too
    shape = Shape.of(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.arange(24)[None], use_cache=False)
    counted = shape.forward_flops(tokens=24, predicting=24, attended=24 * 24)
    assert counter.get_total_flops() == counted


def test_embeddings_that_are_only_looked_up_cost_nothing() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4))
    shape = Shape.of(model)
    # a layer: 3 * 32 * 32 for queries, keys, values, 32 * 32 for outputs, 2 * 32 * 128 for the MLP
    assert (shape.body, shape.head) == (2 * (4 * 32 * 32 + 2 * 32 * 128), 96 * 32)
    assert (shape.layers, shape.heads, shape.kv_heads, shape.head_size) == (2, 4, 4, 8)
    untied = tiny_llama(tiny_tokenizer())
    tied = Shape.of(untied)
    untied.lm_head.weight = torch.nn.Parameter(untied.lm_head.weight.detach().clone())
    assert Shape.of(untied) == tied
