"""The script that times a GPU, without one."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from bench import gpu
from burnish.bench.flops import attended
from burnish.models import load
from burnish.text.chat import encode
from tests.tiny import tiny_llama, tiny_tokenizer


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench.gpu"])
    with pytest.raises(SystemExit) as caught:
        gpu.main()
    assert str(caught.value.code).startswith("bench.gpu: torch can use no GPU here")


def test_shapes_are_of_the_size_that_their_names_say() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {}
    for name, shape in gpu.SHAPES.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape))
        model.tie_weights()
        sizes[name] = round(model.num_parameters() / 1e9, 2)
    assert sizes == {"qwen3-0.6b": 0.6, "qwen3-1.7b": 1.72, "llama-8b": 8.03}


def test_random_weights_open_and_work_is_counted_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    monkeypatch.setattr(gpu, "locate", lambda name, cache: tmp_path / "tokenizer")
    (tmp_path / "model").mkdir()
    shape = gpu.SHAPES["qwen3-0.6b"] | {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16,
        "vocab_size": 500,
    }  # fmt: skip
    gpu.write_random(shape, tmp_path / "model", "cpu")
    load.open_causal_lm(tmp_path / "model", "bfloat16")

    given = Namespace(
        model=str(tmp_path / "llama"), data=str(tmp_path / "rows.jsonl"), rows=3, steps=1, warm_up=1
    )
    tiny_llama(tokenizer).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    gpu.write_documents(Path(given.data), 40)
    found = [encode(row, tokenizer) for row in gpu.sft.rows(given)]
    # 2 layers of 32: queries, outputs 2 * 32 * 32, keys, values 2 * 32 * 16, units 3 * 32 * 64.
    body, head = 2 * (2048 + 1024 + 6144), 32 * len(tokenizer)
    wanted = sum(
        6 * body * len(e.ids) + 6 * head * sum(e.mask) + 12 * 2 * 32 * attended(0, [len(e.ids)])
        for e in found
    )
    assert len(found) == 6 and gpu.sft_flops(given) == wanted / 2
