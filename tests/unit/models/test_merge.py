"""Merged weights against naive sums over state dicts, and that what cannot be merged is refused."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.errors import ModelError
from burnish.models.load import open_causal_lm
from burnish.models.merge import Combine, add_task_vectors, average, merge_models, rounded
from tests.tiny import tiny_llama, tiny_tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def write(path: Path, seed: int, dtype: str = "float32", **save: object) -> Path:
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer, seed).to(DTYPES[dtype]).save_pretrained(path, **save)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "a", 0), write(tmp_path / "b", 1)]


def merged(
    sources: Sequence[Path], out: Path, combine: Combine, like: Path | None = None, seed: int = 0
) -> dict[str, Tensor]:
    merge_models(
        sources,
        out,
        combine,
        like=like or sources[0],
        seed=seed,
        on_tensor=lambda done, total: None,
    )
    weights: dict[str, Tensor] = {}
    for file in sorted(out.glob("*.safetensors")):
        weights |= load_file(file)
    return weights


def averaging(*weights: float) -> Combine:
    return lambda tensors: average(tensors, weights)


def adding(*scales: float) -> Combine:
    return lambda tensors: add_task_vectors(tensors[0], tensors[1:], scales)


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype and torch.equal(one[n], other[n]) for n in one
    )


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_an_average_weighs_and_a_task_vector_adds() -> None:
    one, two, base = double(1.0, 2.0), double(3.0, -2.0), double(0.0, 1.0)
    assert average([one, two], (1.0, 1.0)).tolist() == [2.0, 0.0]
    assert average([one, two], (1.0, 3.0)).tolist() == [2.5, -1.0]
    assert average([one, two], (2.0, -1.0)).tolist() == [-1.0, 6.0]
    # base + .5 ((1, 2) - base) + 2 ((3, -2) - base) = (0, 1) + (.5, .5) + (6, -6)
    assert add_task_vectors(base, [one, two], (0.5, 2.0)).tolist() == [6.5, -4.5]
    assert add_task_vectors(base, [one], (-1.0,)).tolist() == [-1.0, 0.0]
    assert (one.tolist(), base.tolist()) == ([1.0, 2.0], [0.0, 1.0])  # no argument is changed


def test_a_task_vector_of_weight_one_is_the_model_and_of_weight_zero_the_base(
    tmp_path: Path, two: list[Path]
) -> None:
    base, model = (load_file(path / "model.safetensors") for path in two)
    whole = merged(two, tmp_path / "one", adding(1.0), like=two[1])
    assert same_bits(whole, model)
    assert same_bits(merged(two, tmp_path / "zero", adding(0.0), like=two[1]), base)
    assert not same_bits(base, model)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_average_of_a_model_with_itself_is_itself(tmp_path: Path, dtype: str) -> None:
    path = write(tmp_path / "a", 0, dtype)
    own = load_file(path / "model.safetensors")
    for number, weights in enumerate([(1.0, 1.0), (1.0, 1.0, 1.0), (0.3, 0.9, 0.1), (5.0, -2.0)]):
        out = tmp_path / str(number)
        assert same_bits(merged([path] * len(weights), out, averaging(*weights), seed=number), own)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_average_with_all_the_weight_on_one_model_is_that_model(
    tmp_path: Path, dtype: str
) -> None:
    paths = [write(tmp_path / name, seed, dtype) for seed, name in enumerate("ab")]
    first, second = (load_file(path / "model.safetensors") for path in paths)
    assert same_bits(merged(paths, tmp_path / "x", averaging(1.0, 0.0)), first)
    assert same_bits(merged(paths, tmp_path / "y", averaging(0.0, 2.0)), second)


@pytest.mark.parametrize("dtype", DTYPES)
def test_merging_equals_a_naive_sum_over_state_dicts(tmp_path: Path, dtype: str) -> None:
    paths = [write(tmp_path / name, seed, dtype) for seed, name in enumerate("abc")]
    base, one, two = (tiny_llama(tiny_tokenizer(), seed).to(DTYPES[dtype]) for seed in range(3))
    states = [model.double().state_dict() for model in (base, one, two)]
    found = {
        "average": merged(paths, tmp_path / "x", averaging(1.0, 2.0, 5.0)),
        "task vectors": merged(paths, tmp_path / "y", adding(0.4, 0.7), like=paths[1]),
    }
    for name in found["average"]:
        a, b, c = (state[name] for state in states)
        expected = {
            "average": (a + 2 * b + 5 * c) / 8,
            "task vectors": -0.1 * a + 0.4 * b + 0.7 * c,
        }
        for how, exact in expected.items():
            got = found[how][name]
            assert got.dtype == DTYPES[dtype]
            if dtype == "bfloat16":  # one of the two neighbours
                assert bool(((got - exact).abs() <= exact.abs() * 2**-7 + 1e-12).all())
            else:
                half_a_step = 2.0 ** (-24 if dtype == "float32" else -11)
                assert bool(((got - exact).abs() <= exact.abs() * half_a_step + 1e-7).all())


def test_bfloat16_is_rounded_right_on_average_and_the_same_for_a_key() -> None:
    # A quarter of the way from 1 to the next number, 1 + 2**-7, and from -2 to -2 - 2**-6.
    exact = torch.full((40_000,), 1 + 2**-9, dtype=torch.float64)
    exact[20_000:] = -2 - 2**-8
    found = rounded(exact, torch.bfloat16, 1)
    assert torch.equal(found, rounded(exact, torch.bfloat16, 1))
    assert not torch.equal(found, rounded(exact, torch.bfloat16, 2))
    assert found[:20_000].unique().tolist() == [1.0, 1 + 2**-7]
    assert found[20_000:].unique().tolist() == [-2 - 2**-6, -2.0]
    four_sigma = 4 * math.sqrt(0.25 * 0.75 / 20_000)
    assert abs(float((found[:20_000] > 1).double().mean()) - 0.25) < four_sigma
    assert abs(float((found[20_000:] < -2).double().mean()) - 0.25) < four_sigma


def test_each_tensor_of_each_merge_is_rounded_by_draws_of_its_own(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, seed, "bfloat16") for seed, name in enumerate("ab")]
    for path in paths:
        change(path, lambda w: w.update(twin=w["model.embed_tokens.weight"].clone()))
    found = merged(paths, tmp_path / "x", averaging(1.0, 2.0))
    assert not torch.equal(found["twin"], found["model.embed_tokens.weight"])
    assert same_bits(found, merged(paths, tmp_path / "y", averaging(1.0, 2.0)))
    other = merged(paths, tmp_path / "z", averaging(1.0, 2.0), seed=1)
    assert not torch.equal(found["twin"], other["twin"])


def test_numbers_that_a_format_has_are_kept_whatever_is_drawn() -> None:
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)
    every = every[every.isfinite()]
    for key in range(3):
        found = rounded(every.double(), torch.bfloat16, key)
        assert torch.equal(found.view(torch.int16), every.view(torch.int16))


def test_small_steps_of_a_task_survive_a_small_scale_on_average(tmp_path: Path) -> None:
    # Every weight of the model is the next number above the base's, as after a short training.
    base = write(tmp_path / "base", 0, "bfloat16")
    model = tmp_path / "model"
    shutil.copytree(base, model)
    start = load_file(base / "model.safetensors")
    moved = {n: (w.view(torch.int16) + 1).view(torch.bfloat16) for n, w in start.items()}
    save_file(moved, model / "model.safetensors", metadata={"format": "pt"})
    found = merged([base, model], tmp_path / "out", adding(0.3), like=model)
    went = torch.cat([(found[n] == moved[n]).flatten() for n in start]).double()
    stayed = torch.cat([(found[n] == start[n]).flatten() for n in start]).double()
    assert bool((went + stayed == 1).all())
    assert abs(float(went.mean()) - 0.3) < 4 * math.sqrt(0.3 * 0.7 / len(went))


@pytest.mark.parametrize("like", [0, 1])
def test_a_base_in_another_format_is_combined_and_the_result_is_in_that_of_the_first_model(
    tmp_path: Path, like: int
) -> None:
    sources = [write(tmp_path / "base", 0, "float32"), write(tmp_path / "model", 1, "bfloat16")]
    found = merged(sources, tmp_path / "out", averaging(1.0, 1.0), like=sources[like])
    base, model = (load_file(path / "model.safetensors") for path in sources)
    for name, tensor in found.items():
        assert tensor.dtype == (base, model)[like][name].dtype
        exact = (base[name].double() + model[name].double()) / 2
        gap = (tensor.double() - exact).abs()
        assert bool((gap <= exact.abs() * 2.0 ** (-24 if like == 0 else -7) + 1e-12).all())


def test_a_merged_model_opens_with_tied_embeddings_and_has_the_logits_of_the_sum(
    tmp_path: Path, two: list[Path]
) -> None:
    merged(two, tmp_path / "out", averaging(1.0, 3.0))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(path.name for path in two[0].iterdir())
    model = open_causal_lm(tmp_path / "out", "float32")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    plain, other = (tiny_llama(tiny_tokenizer(), seed) for seed in (0, 1))
    with torch.no_grad():
        for mine, theirs in zip(plain.parameters(), other.parameters(), strict=True):
            mine.copy_((mine + 3 * theirs) / 4)
        ids = torch.arange(3, 20)[None]
        model.set_attn_implementation("eager")
        torch.testing.assert_close(model(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)


def test_shards_are_read_together_and_written_as_the_first_has_them(tmp_path: Path) -> None:
    whole = [write(tmp_path / name, seed) for seed, name in enumerate("ab")]
    parts = write(tmp_path / "parts", 0, max_shard_size="30KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    expected = merged(whole, tmp_path / "x", averaging(1.0, 1.0))
    assert same_bits(merged([parts, whole[1]], tmp_path / "y", averaging(1.0, 1.0)), expected)
    names = {path.name for path in parts.iterdir()}
    assert {path.name for path in (tmp_path / "y").iterdir()} == names
    open_causal_lm(tmp_path / "y", "float32")
    back = merged([whole[1], parts], tmp_path / "z", averaging(1.0, 1.0))
    assert same_bits(back, expected) and (tmp_path / "z" / "model.safetensors").is_file()
    merged([whole[1], parts], tmp_path / "like", averaging(1.0, 1.0), like=parts)
    assert {path.name for path in (tmp_path / "like").iterdir()} == names


def change(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    edit(weights)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def configure(path: Path, **changed: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changed))


NORM = "model.norm.weight"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a name more": (
        lambda p: change(p, lambda w: w.update(extra=torch.ones(2))),
        "1 weights are not there that .*b has, such as extra",
    ),
    "a name less": (
        lambda p: change(p, lambda w: w.pop(NORM)),
        "b: 1 weights are not there that .*a has, such as model.norm.weight",
    ),
    "a shape": (
        lambda p: change(p, lambda w: w.update({NORM: torch.ones(31)})),
        r"model.norm.weight is of shape \[31\], but \[32\]",
    ),
    "a format": (
        lambda p: change(p, lambda w: w.update({NORM: w[NORM].to(torch.int32)})),
        "model.norm.weight is stored as I32, but as F32",
    ),
    "a number": (
        lambda p: change(p, lambda w: w[NORM].__setitem__(3, float("inf"))),
        "b: model.norm.weight holds numbers that are not finite",
    ),
    "a config": (
        lambda p: configure(p, rms_norm_eps=1e-3),
        "b/config.json: rms_norm_eps is 0.001, but 1e-06",
    ),
    "heads": (lambda p: configure(p, num_attention_heads=8, head_dim=8), "num_attention_heads"),
    "quantised": (
        lambda p: configure(p, quantization_config={"quant_method": "fp8"}),
        "quantised weights cannot be merged",
    ),
    "half a config": (lambda p: (p / "config.json").write_text("{"), "config.json: cannot be read"),
    "no config": (lambda p: (p / "config.json").unlink(), "b: no config.json there"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "neither model.safetensors nor"),
    "half a file": (
        lambda p: (p / "model.safetensors").write_bytes(b"123456789"),
        "model.safetensors: cannot be read",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_models_that_do_not_correspond_are_refused(
    tmp_path: Path, two: list[Path], what: str
) -> None:
    damage, words = DAMAGE[what]
    damage(two[1])
    with pytest.raises(ModelError, match=words) as caught:
        merged(two, tmp_path / "out", averaging(1.0, 1.0))
    assert "\n" not in str(caught.value)


def test_a_missing_shard_or_a_damaged_index_is_refused(tmp_path: Path) -> None:
    parts = write(tmp_path / "parts", 0, max_shard_size="30KB")
    sorted(parts.glob("*.safetensors"))[1].unlink()
    with pytest.raises(ModelError, match=r"00002-of-.*: cannot be read"):
        merged([parts, parts], tmp_path / "out", averaging(1.0, 1.0))
    (parts / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match=r"index.json: damaged"):
        merged([parts, parts], tmp_path / "out", averaging(1.0, 1.0))


def test_what_configs_say_beside_the_architecture_may_differ(
    tmp_path: Path, two: list[Path]
) -> None:
    configure(two[1], use_cache=False, pad_token_id=0, transformers_version="4.0.0")
    merged(two, tmp_path / "out", averaging(1.0, 1.0))
    first = (two[0] / "config.json").read_text()
    assert (tmp_path / "out" / "config.json").read_text() == first


def test_whole_numbers_must_be_equal(tmp_path: Path, two: list[Path]) -> None:
    for path in two:
        change(path, lambda w: w.update(steps=torch.tensor([7])))
    found = merged(two, tmp_path / "out", averaging(1.0, 1.0))
    assert torch.equal(found["steps"], torch.tensor([7]))
    change(two[1], lambda w: w.update(steps=torch.tensor([8])))
    with pytest.raises(ModelError, match=r"b: steps \(torch.int64\) differs from .*a"):
        merged(two, tmp_path / "again", averaging(1.0, 1.0))


def test_a_sum_beyond_the_format_is_refused(tmp_path: Path, two: list[Path]) -> None:
    with pytest.raises(ModelError, match=r"merged numbers exceed torch.float32"):
        merged(two, tmp_path / "out", adding(1e200), like=two[0])
