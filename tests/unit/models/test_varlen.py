"""Attention in the row as it is, with the GPU's kernels replaced by their definition."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from burnish.models import layers, varlen
from burnish.models.attention import Ragged
from burnish.models.load import open_causal_lm
from burnish.models.policy import Forest, Tree, decoder, hidden_states, score_trees
from burnish.models.varlen import Segments, varlen_attention
from tests import plain_varlen
from tests.pretend_gpu import DEVICE, pretend_gpu
from tests.tiny import tiny_llama, tiny_tokenizer

Trees = list[tuple[int, list[int]]]
CPU, GPU = torch.device("cpu"), torch.device(DEVICE)
ROWS: dict[str, Trees] = {
    "a document": [(0, [9])],
    "documents": [(0, [5]), (4, [3]), (0, [1]), (6, [1])],
    "a tree": [(5, [3, 7, 1])],
    "trees and documents": [(0, [4]), (3, [2, 6]), (7, [5]), (1, [1, 1]), (0, [2])],
    "branches without a stem": [(0, [3, 4]), (2, [3, 1])],
    "empty branches": [(3, [0, 4]), (2, [0, 0]), (4, [])],
    "one token": [(0, [1])],
}


def numbers(total: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries of 4 heads, keys and values of 2, and a gradient."""
    generator = torch.Generator().manual_seed(total)
    return [torch.randn(total, h, 8, generator=generator).to(dtype) for h in (4, 2, 2, 4)]


def size_of(trees: Trees) -> int:
    return sum(stem + sum(branches) for stem, branches in trees)


def visible(trees: Trees) -> Tensor:
    """True where a token sees another: it is before it, in its stem or its own branch."""
    place = [
        (tree, branch)
        for tree, (stem, branches) in enumerate(trees)
        for branch, length in [(-1, stem), *enumerate(branches)]
        for _ in range(length)
    ]
    return torch.tensor(
        [
            [j <= i and a[0] == b[0] and b[1] in (-1, a[1]) for j, b in enumerate(place)]
            for i, a in enumerate(place)
        ]
    )


def naive(query: Tensor, key: Tensor, value: Tensor, trees: Trees, scale: float) -> Tensor:
    key, value = (x.repeat_interleave(2, dim=1) for x in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    mass = scores.masked_fill(~visible(trees), float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", mass, value)


@pytest.mark.parametrize("name", ROWS)
def test_outputs_and_gradients_are_those_of_the_mask(name: str) -> None:
    trees = ROWS[name]
    *given, grad = numbers(size_of(trees))
    expected_in = [x.clone().requires_grad_() for x in given]
    expected = naive(*expected_in, trees, 0.3)
    expected.backward(grad)
    plain_varlen.calls.clear()
    found_in = [x.clone().requires_grad_() for x in given]
    out = varlen_attention(*found_in, Segments.of(trees, CPU), 0.3)
    out.backward(grad)
    found = [out.detach(), *(x.grad for x in found_in)]
    wanted = [expected.detach(), *(x.grad for x in expected_in)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-5)
    branching = any(stem and len(b) > 1 and sum(b) for stem, b in trees)
    assert plain_varlen.calls == {"forward": 1 + branching, "backward": 1 + branching}


def test_segments_are_sequences_in_the_order_of_the_row() -> None:
    found = Segments.of([(0, [4]), (3, [2, 6]), (7, [5]), (2, [0, 1])], CPU)
    assert found.own.starts.tolist() == [0, 4, 7, 9, 15, 27, 29, 30]
    assert found.own.starts.dtype == torch.int32 and found.own.longest == 12
    assert found.stems is not None
    assert found.stems.stem_places.tolist() == [4, 5, 6, 27, 28]
    assert found.stems.branch_places.tolist() == [*range(7, 15), 29]
    assert found.stems.stems.starts.tolist() == [0, 3, 5] and found.stems.stems.longest == 3
    assert found.stems.branches.starts.tolist() == [0, 8, 9] and found.stems.branches.longest == 8
    assert Segments.of([(3, [4]), (0, [2, 2])], CPU).stems is None


@pytest.mark.parametrize(
    ("dtype", "size", "age", "taken"),
    [
        (torch.bfloat16, 64, (9, 0), True),
        (torch.bfloat16, 256, (8, 0), True),
        (torch.float32, 64, (9, 0), False),
        (torch.bfloat16, 60, (9, 0), False),
        (torch.bfloat16, 264, (9, 0), False),
        (torch.bfloat16, 64, (7, 5), False),
    ],
)
def test_kernels_are_for_bfloat16_heads_of_their_sizes_on_recent_gpus(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    size: int,
    age: tuple[int, int],
    taken: bool,
) -> None:
    with pretend_gpu():
        monkeypatch.setattr(varlen, "_capability", lambda device: age)
        query = torch.zeros(2, 3, size, dtype=dtype)
        assert varlen.supports(query.to(DEVICE)) == taken
        assert not varlen.supports(query)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_layout_on_a_gpu_uses_them_where_it_can(dtype: torch.dtype) -> None:
    trees = ROWS["trees and documents"]
    query, key, value, _ = numbers(size_of(trees), dtype)
    plain_varlen.calls.clear()
    with pretend_gpu():
        layout = Ragged.of(trees, GPU)
        parts = [x.to(DEVICE).transpose(0, 1)[None] for x in (query, key, value)]
        found = layout.attend(0, *parts, 0.3)[0].cpu()
    assert plain_varlen.calls["forward"] == (2 if dtype == torch.bfloat16 else 0)
    exact = naive(query.float(), key.float(), value.float(), trees, 0.3)
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.float(), exact, atol=tolerance, rtol=tolerance)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


FOREST: Trees = [(6, [4, 9, 1]), (0, [1]), (1, [12]), (3, [2, 5]), (0, [7]), (2, [1, 1, 1])]
"""A prompt with three completions, a document of one token, and so on."""


def test_a_row_of_trees_gives_what_each_document_gives_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "supports", lambda query: True)
    monkeypatch.setattr(layers, "runs_here", lambda decoder: False)
    model = open_causal_lm(directory, "float32")
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 380, (size_of(FOREST),), generator=generator)
    weights = torch.randn(len(ids), 32, generator=generator)

    plain_varlen.calls.clear()
    hidden = hidden_states(model, ids[None], Ragged.of(FOREST, CPU))[0]
    (weights * hidden).sum().backward()
    grads = [p.grad for p in model.parameters()]
    depth = len(decoder(model).layers)  # type: ignore[arg-type]
    assert plain_varlen.calls == {"forward": 2 * depth, "backward": 2 * depth}

    model.zero_grad()
    model.set_attn_implementation("eager")  # type: ignore[operator]
    start = 0
    for stem, branches in FOREST:
        end = start + stem
        for number, length in enumerate(branches):
            places = torch.tensor([*range(start, start + stem), *range(end, end + length)])
            alone = decoder(model)(input_ids=ids[places][None]).last_hidden_state[0]
            torch.testing.assert_close(hidden[places], alone, atol=1e-5, rtol=1e-5)
            counted = places if number == 0 else places[stem:]  # the stem once
            (weights[counted] * alone[len(places) - len(counted) :]).sum().backward()
            end += length
        start = end
    for found, param in zip(grads, model.parameters(), strict=True):
        assert found is not None and param.grad is not None
        largest = float(param.grad.abs().max())
        torch.testing.assert_close(found, param.grad, atol=1e-5 * largest, rtol=1e-5)


def test_a_forward_pass_on_a_gpu_waits_for_nothing(directory: Path) -> None:
    tree = Tree.prompt((5, 6, 7), [(8, 9), (10,)])
    with pretend_gpu() as waits:
        model = open_causal_lm(directory, "bfloat16", DEVICE)
        forest = Forest.of([tree, Tree.prompt((5,), [(6, 7, 8)])], GPU)
        waits.clear()
        logprobs, _, _ = score_trees(model, forest)
        logprobs.sum().backward()
        assert not waits
