"""Which architectures of transformers follow Burnish's layouts, and that the others are refused."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.errors import ModelError
from burnish.models import attention, check
from burnish.models.attention import Ragged
from burnish.models.check import check_model
from burnish.models.load import open_causal_lm
from burnish.models.policy import Forest, Tree, hidden_states, score_trees

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {
    "vocab_size": 96,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SUPPORTED = {
    "Llama": SIZES,
    "Qwen2": SIZES,
    "Qwen3": SIZES | {"head_dim": 16},
    "Mistral": SIZES | {"sliding_window": None},
    "Gemma": SIZES | {"head_dim": 8},
    "SmolLM3": SIZES,
    "Olmo2": SIZES,
    "Phi3": SIZES,
    "GPT2": GPT2,
}
REFUSED = {
    "Granite": (SIZES | {"logits_scaling": 8.0}, "changes its logits"),
    "Cohere": (SIZES | {"logit_scale": 0.0625}, "changes its logits"),
    "Phi": (SIZES, "changes its logits"),  # its head has a bias
    "Gemma2": (SIZES | {"head_dim": 8}, "caps its scores"),
    "Mistral": (SIZES | {"sliding_window": 4}, "window of 4 tokens"),
    "Gemma3Text": (SIZES | {"head_dim": 8, "sliding_window": 4}, "window of 4 tokens"),
    "Olmo3": (SIZES | {"sliding_window": 4}, "window of 4 tokens"),
    "StableLm": (SIZES, "layout"),
    "Falcon": (
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        "does not keep documents apart",
    ),
    "Lfm2": (
        SIZES | {"layer_types": ["conv", "full_attention"]},
        "does not keep documents apart",
    ),
}


def build(name: str, **config: object) -> nn.Module:
    made = getattr(transformers, f"{name}Config")(**config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(made, attn_implementation="eager")
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.15)
    return model.float().eval()


@pytest.mark.parametrize("name", SUPPORTED)
def test_supported_architectures_score_and_sample_as_transformers_does(name: str) -> None:
    own = build(name, **SUPPORTED[name])
    prompt, branches = (5, 9, 14), ((7, 8, 20, 21), (30,), (11, 12))
    expected = []
    greedy = own.generate(
        torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=95
    )
    with torch.no_grad():
        for branch in branches:
            logits = own(torch.tensor([prompt + branch])).logits[0].log_softmax(-1)
            expected += [logits[len(prompt) - 1 + i, t] for i, t in enumerate(branch)]
    own.set_attn_implementation(attention.NAME)
    check_model(own)
    found, _, _ = score_trees(own, Forest.of([Tree.prompt(prompt, branches)], torch.device("cpu")))
    torch.testing.assert_close(found.detach(), torch.stack(expected), atol=1e-5, rtol=1e-5)
    sampling = Sampling(max_new_tokens=8, temperature=0.0, stop_ids=frozenset({95}))
    [[completion]] = LocalSampler(own).sample([Request(prompt=prompt, key=1)], sampling)
    assert completion.tokens == tuple(greedy[0, len(prompt) :].tolist())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_full_attention_and_a_plain_head_is_refused(name: str) -> None:
    config, why = REFUSED[name]
    model = build(name, **config)
    model.set_attn_implementation(attention.NAME)
    with pytest.raises(ModelError, match=why):
        check_model(model)


def test_a_soft_cap_on_the_logits_is_found_though_small_logits_hardly_show_it() -> None:
    model = build(
        "Gemma2", **SIZES, head_dim=8, attn_logit_softcapping=None, final_logit_softcapping=30.0
    )
    model.set_attn_implementation(attention.NAME)
    with pytest.raises(ModelError, match="changes its logits"):
        check_model(model)


def test_documents_within_a_sliding_window_are_full_attention_and_longer_ones_refused() -> None:
    own = build("Mistral", **SIZES, sliding_window=8)
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        expected = own.model(ids).last_hidden_state
    own.set_attn_implementation(attention.NAME)
    check_model(own)
    with torch.no_grad():
        # Two documents of the window's size each: what counts is a document, not the row.
        found = hidden_states(own, ids.repeat(1, 2), Ragged.of([(0, [8])] * 2, ids.device))
    torch.testing.assert_close(found[:, 8:], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ModelError, match="window of 8 tokens, and a document has 9"):
        hidden_states(own, torch.arange(14)[None], Ragged.of([(4, [5, 5])], ids.device))
    sampling = Sampling(max_new_tokens=6)
    with pytest.raises(ModelError, match="window of 8 tokens"):
        LocalSampler(own).sample([Request(prompt=(3, 4, 5, 6), key=1)], sampling)


def test_bfloat16_rounding_is_no_reason_to_refuse() -> None:
    for name in ("Llama", "Qwen3", "GPT2"):
        model = build(name, **SUPPORTED[name]).bfloat16()
        model.set_attn_implementation(attention.NAME)
        check_model(model)


def test_rounding_that_is_magnified_is_told_from_a_leak_without_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The states of a reward model can differ by .3 in bfloat16 and by 1e-6 in float32."""
    real = check._layout_gaps
    seen = []

    def magnified(model: nn.Module) -> dict[str, float]:
        gaps = real(model)
        seen.append(next(model.parameters()).dtype)
        return {k: g + 0.35 * (seen[-1] == torch.bfloat16) for k, g in gaps.items()}

    monkeypatch.setattr(check, "_layout_gaps", magnified)
    model = build("Llama", **SUPPORTED["Llama"]).bfloat16()
    model.set_attn_implementation(attention.NAME)
    check_model(model)
    assert seen == [torch.bfloat16, torch.float32]
    assert next(model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", [n for n, (_, m) in REFUSED.items() if "apart" in m])
def test_a_leak_is_refused_in_bfloat16_too(name: str) -> None:
    config, why = REFUSED[name]
    model = build(name, **config).bfloat16()
    model.set_attn_implementation(attention.NAME)
    with pytest.raises(ModelError, match=why):
        check_model(model)


def test_opening_a_refused_model_names_its_directory(tmp_path: Path) -> None:
    build("Cohere", **SIZES, logit_scale=0.0625).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=f"{tmp_path.name}: CohereForCausalLM changes its logits"):
        open_causal_lm(tmp_path, "float32")
