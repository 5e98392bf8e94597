"""Opening and writing models: any Hugging Face causal language model, safetensors only.

A model on disk is a plain Hugging Face directory (config.json, model.safetensors, tokenizer), so
every stage's output opens in any other tool. A reward model's head lies in head.safetensors.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from burnish.errors import ModelError
from burnish.models import attention
from burnish.models.allocator import keep_freed_memory
from burnish.models.census import CENSUS
from burnish.models.check import check_model
from burnish.models.layers import join_layers, runs_here
from burnish.models.policy import decoder
from burnish.models.products import widen_linears

Precision = Literal["bfloat16", "float32"]
DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
)
HEAD_FILE = "head.safetensors"


def open_causal_lm(path: Path, precision: Precision, device: str = "cpu") -> nn.Module:
    """The causal language model in `path`, in evaluation mode, with ragged attention.

    Dropout stays off in training too: a ratio between two dropout masks is noise.

    Raises:
        ModelError: no config or no safetensors there, they are damaged or incomplete, or the
            architecture is not known or not supported.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    keep_freed_memory()
    if not (path / "config.json").is_file():
        raise ModelError(f"{path}: no config.json there; is it a Hugging Face model directory?")
    if not list(path.glob("*.safetensors")):
        raise ModelError(
            f"{path}: no .safetensors weights; pickled weights are never loaded: convert them with "
            "`model.save_pretrained(path, safe_serialization=True)` in their own environment"
        )
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model, found = AutoModelForCausalLM.from_pretrained(
            path,
            output_loading_info=True,
            config=config,
            dtype=DTYPES[precision],
            attn_implementation=attention.NAME,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, LookupError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: cannot open the model: {reason}") from error
    # transformers would fill the gaps with random numbers.
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{path}: {len(missing)} weights are not there, such as {missing[0]}; copy the "
            "directory again, with all its .safetensors files"
        )
    # A padding index keeps a token's input embedding from learning; where pad is EOS that is wrong.
    model.get_input_embeddings().padding_idx = None
    widen_linears(model)
    model.eval()
    model.to(device)
    if runs_here(decoder(model)):
        join_layers(decoder(model))
    try:
        check_model(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    CENSUS.add(model)
    return model  # type: ignore[no-any-return]


def save_causal_lm(
    model: nn.Module, out: Path, *, tokenizer_from: Path, head: nn.Linear | None = None
) -> None:
    """Write a plain Hugging Face directory, with the tokenizer of the model it came from.

    Raises:
        OSError: the disk is full, read-only or otherwise refuses.
    """
    out.mkdir(parents=True, exist_ok=True)
    with os_errors(out):
        model.save_pretrained(out, safe_serialization=True)  # type: ignore[operator]
    copy_tokenizer(tokenizer_from, out)
    if head is not None:
        weights = {k: v.detach().float().contiguous() for k, v in head.state_dict().items()}
        with os_errors(out):
            save_file(weights, out / HEAD_FILE)


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copy the files of a model's tokenizer, and its generation settings where `out` has none."""
    for name in TOKENIZER_FILES:
        file = source / name
        if file.is_file() and not (name == "generation_config.json" and (out / name).exists()):
            shutil.copyfile(file, out / name)


@contextmanager
def os_errors(out: Path) -> Iterator[None]:
    """What a disk refuses, as the OSError that safetensors wraps in an error of its own."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(out)) from error


def open_head(path: Path) -> nn.Linear:
    """The head beside a model, in float32.

    Raises:
        ModelError: there is none.
    """
    file = path / HEAD_FILE
    if not file.is_file():
        raise ModelError(f"{path}: no {HEAD_FILE} there; a reward model was expected")
    try:
        weights = load_file(file)
        num_outputs, size = weights["weight"].shape
        head = nn.Linear(size, num_outputs, bias="bias" in weights)
        head.load_state_dict(weights)
    except (SafetensorError, LookupError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{file}: damaged ({reason}); run its stage again") from error
    return head


def describe(path: Path) -> str:
    """One line about a model directory: architecture and size."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    size = sum(f.stat().st_size for f in path.glob("*.safetensors"))
    name = (config.get("architectures") or [config.get("model_type", "?")])[0]
    return f"{name}, {config.get('num_hidden_layers', '?')} layers, {size / 1e6:.0f} MB"
