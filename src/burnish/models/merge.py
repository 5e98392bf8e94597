"""Merging models of one architecture, weight by weight: averages and task vectors.

Nothing is opened as a model: tensors are read from safetensors files one at a time, combined in
float64, and written in the format and the files that they came from. It leaves out ways to prune or
to align weights first, and models whose tensors do not correspond one to one.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from burnish import rng
from burnish.errors import ModelError
from burnish.models.load import copy_tokenizer, os_errors

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
IDLE_KEYS = frozenset(
    {
        "_name_or_path",
        "transformers_version",
        "architectures",
        "dtype",
        "use_cache",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "initializer_range",
        "attention_dropout",
    }
)
"""Keys of a config in which models may differ: they change nothing in what the weights compute."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""What safetensors calls the formats that can be combined, also with one another: a base that was
fetched in float32 with what bfloat16 training made of it."""

Combine = Callable[[Sequence[Tensor]], Tensor]
"""One tensor of each source, in float64 -> the merged one."""


def average(tensors: Sequence[Float[Tensor, "*S"]], weights: Sequence[float]) -> Tensor:
    """sum_i w_i theta_i / sum_i w_i (model soups, Wortsman et al. 2022, 2203.05482)."""
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor, alpha=weight)
    return total.div_(math.fsum(weights))


def add_task_vectors(
    base: Float[Tensor, "*S"], tensors: Sequence[Float[Tensor, "*S"]], scales: Sequence[float]
) -> Tensor:
    """theta_base + sum_i lambda_i (theta_i - theta_base) (Ilharco et al. 2022, 2212.04089)."""
    total = base.clone()
    for tensor, scale in zip(tensors, scales, strict=True):
        total.add_(tensor - base, alpha=scale)
    return total


def rounded(exact: Tensor, dtype: torch.dtype, key: int) -> Tensor:
    """Float64 numbers in a stored format: to nearest, but to bfloat16 up or down by chance.

    A bfloat16 weight and the next one lie 0.4 to 0.8 % apart, and fine-tuning moves most weights by
    no more than one such step. A third of a step rounds to nothing, so to nearest a scaled task
    vector would vanish, and an average of three models forget what only one of them learnt. Each
    number is therefore rounded up with the probability of its distance from the lower neighbour:
    the merge is right on average, and numbers that bfloat16 has stay as they are. The draws follow
    `key`. They must not be the fixed thresholds with which `engine.optim` rounds in training: those
    decided which of the weights moved, and would keep all of them or none.
    """
    if dtype != torch.bfloat16:
        return exact.to(dtype)
    drawn = rng.stream(key, "rounding").integers(0, 1 << 16, exact.numel(), dtype="int32")
    bits = exact.float().view(torch.int32) + torch.from_numpy(drawn).view(exact.shape)
    return bits.bitwise_right_shift_(16).to(torch.int16).view(torch.bfloat16)


def merge_models(
    sources: Sequence[Path],
    out: Path,
    combine: Combine,
    *,
    like: Path,
    seed: int,
    on_tensor: Callable[[int, int], None],
) -> None:
    """Write the combination of all sources to `out`, with the other files of `like`, one of them.

    Weights are written in the files and formats in which `like` has them, one after the other: held
    in memory are the largest of them, and one tensor of each source. `on_tensor(done, total)` is
    called as it goes.

    Raises:
        ModelError: the sources differ in architecture, tensors or shapes, or are damaged;
            a tensor is not finite, or the merged one is not; one that is no floating-point number
            differs between them.
        OSError: the disk is full, read-only or otherwise refuses.
    """
    for one, other in pairwise(sources):
        _compare_configs(one, other)
    with ExitStack() as stack:
        models = [_Weights.open(path, stack) for path in sources]
        for one_model, other_model in pairwise(models):
            one_model.compare(other_model)
        first = list(sources).index(like)
        places = models[first].files
        out.mkdir(parents=True, exist_ok=True)
        done = 0
        for file in dict.fromkeys(places.values()):
            merged = {}
            for name in (n for n, place in places.items() if place == file):
                merged[name] = _merged(
                    name, models, combine, rng.key(seed, "merge", name), like=first
                )
                done += 1
                on_tensor(done, len(places))
            with os_errors(out):
                save_file(merged, out / file, metadata={"format": "pt"})
    for extra in ("config.json", INDEX):
        if (like / extra).is_file():
            shutil.copyfile(like / extra, out / extra)
    copy_tokenizer(like, out)


@dataclass(frozen=True, slots=True)
class _Weights:
    """The tensors of a model directory, read when they are asked for."""

    path: Path
    files: Mapping[str, str]
    """Each tensor's file."""
    handles: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, stack: ExitStack) -> "_Weights":
        """Open every file; they are closed with the stack."""
        if (path / WEIGHTS).is_file():
            names = [WEIGHTS]
        elif (path / INDEX).is_file():
            try:
                index = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"]
                names = sorted(set(index.values()))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ModelError(f"{path / INDEX}: damaged; copy the model again") from error
        else:
            raise ModelError(f"{path}: neither {WEIGHTS} nor {INDEX} is there; only safetensors")
        handles = {}
        for name in names:
            try:
                handles[name] = stack.enter_context(safe_open(path / name, framework="pt"))
            except (SafetensorError, OSError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise ModelError(f"{path / name}: cannot be read ({reason})") from error
        files = {tensor: n for n, handle in handles.items() for tensor in handle.offset_keys()}
        return cls(path, files, handles)

    def form(self, name: str) -> tuple[str, list[int]]:
        """A tensor's format and shape."""
        part = self.handles[self.files[name]].get_slice(name)
        return part.get_dtype(), part.get_shape()

    def read(self, name: str) -> Tensor:
        """A tensor. Raises: ModelError, where a number is not finite."""
        tensor: Tensor = self.handles[self.files[name]].get_tensor(name)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(f"{self.path}: {name} holds numbers that are not finite")
        return tensor

    def compare(self, other: "_Weights") -> None:
        """Pass where both have the same tensors. Raises: ModelError."""
        for one, two in ((self, other), (other, self)):
            if missing := sorted(one.files.keys() - two.files.keys()):
                raise ModelError(
                    f"{two.path}: {len(missing)} weights are not there that {one.path} has, such "
                    f"as {missing[0]}; only models of one architecture can be merged"
                )
        for name in self.files:
            (mine, shape), (theirs, other_shape) = self.form(name), other.form(name)
            if shape != other_shape:
                raise ModelError(
                    f"{other.path}: {name} is of shape {other_shape}, but {shape} in {self.path}"
                )
            if mine != theirs and not {mine, theirs} <= FLOATS:
                raise ModelError(
                    f"{other.path}: {name} is stored as {theirs}, but as {mine} in {self.path}; "
                    "only floating-point formats can be combined"
                )


def _merged(
    name: str, models: Sequence[_Weights], combine: Combine, key: int, *, like: int
) -> Tensor:
    """In the format that the model numbered `like` has."""
    tensors = [model.read(name) for model in models]
    first = tensors[0]
    if not first.is_floating_point():
        for model, tensor in zip(models, tensors, strict=True):
            if not torch.equal(tensor, first):
                raise ModelError(
                    f"{model.path}: {name} ({first.dtype}) differs from {models[0].path}, and only "
                    "floating-point weights can be combined"
                )
        return first
    dtype = tensors[like].dtype
    merged = rounded(combine([t.double() for t in tensors]), dtype, key)
    if not bool(merged.isfinite().all()):
        raise ModelError(f"{name}: the merged numbers exceed {dtype}; lower the weights")
    return merged


def _compare_configs(one: Path, other: Path) -> None:
    mine, theirs = _config(one), _config(other)
    for key in sorted(mine.keys() | theirs.keys()):
        if key not in IDLE_KEYS and mine.get(key) != theirs.get(key):
            raise ModelError(
                f"{other / 'config.json'}: {key} is {theirs.get(key)}, but {mine.get(key)} in "
                f"{one}; only models of one architecture can be merged"
            )


def _config(path: Path) -> dict[str, Any]:
    """A model's config, every default filled in."""
    from transformers import AutoConfig

    if not (path / "config.json").is_file():
        raise ModelError(f"{path}: no config.json there; is it a Hugging Face model directory?")
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, LookupError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path / 'config.json'}: cannot be read ({reason})") from error
    found: dict[str, Any] = config.to_dict()
    if "quantization_config" in found:
        raise ModelError(f"{path}: quantised weights cannot be merged; dequantise the model first")
    return found
