"""How a tree's attention rounds is its own affair: its neighbours in the row have no say in it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from burnish.models import products
from burnish.models.attention import Ragged
from burnish.models.key_values import KeyValueStore
from burnish.models.load import open_causal_lm
from burnish.models.padding import SHORT
from burnish.models.policy import Forest, Tree, score_trees
from tests.tiny import tiny_llama, tiny_tokenizer

CPU = torch.device("cpu")
ROOM = KeyValueStore(slots=1, capacity=256)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def ids(seed: int, length: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 380, (length,), generator=generator).tolist())


TREES = [
    Tree.prompt(ids(1, 20), [ids(2, 5)]),
    Tree.prompt(ids(3, 40), [ids(4, 30), ids(5, 7)]),
    Tree.prompt(ids(6, 100), [ids(7, 80), ids(8, 76)]),  # as long as SHORT
    Tree.prompt(ids(9, 100), [ids(10, 80), ids(11, 77)]),
    Tree.prompt(ids(12, 10), [ids(13, 290)]),
    Tree.prompt(ids(14, 30), [ids(15, 200), ids(16, 250)]),
    Tree.prompt(ids(17, 7), [ids(18, 13)]),
    Tree.prompt(ids(19, 40), [ids(20, 37)]),  # padded alike with the next one
    Tree.prompt(ids(21, 50), [ids(22, 40)]),
]


def attended(trees: Sequence[Tree], dtype: torch.dtype) -> list[Tensor]:
    """What attention gives each tree's tokens, for numbers that are the tree's own."""
    layout = Ragged.of([(len(t.stem), [len(b) for b in t.branches]) for t in trees], CPU)
    parts = []
    for tree in trees:
        generator = torch.Generator().manual_seed(tree.num_tokens)
        parts.append(torch.randn(3, 4, tree.num_tokens, 16, generator=generator).to(dtype))
    query, key, value = torch.cat(parts, dim=2)[:, None]
    out = layout.attend(0, query, key[:, :2], value[:, :2], 0.25)[0]
    return list(torch.split(out, [t.num_tokens for t in trees]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_gives_a_tree_the_same_bits_alone_and_among_others(dtype: torch.dtype) -> None:
    assert {tree.num_tokens > SHORT for tree in TREES} == {True, False}
    together = attended(TREES, dtype)
    for number, tree in enumerate(TREES):
        assert torch.equal(attended([tree], dtype)[0], together[number]), tree.num_tokens
    backwards = attended(TREES[::-1], dtype)[::-1]
    assert all(torch.equal(a, b) for a, b in zip(together, backwards, strict=True))


@pytest.mark.parametrize("all_wide", [False, True])
def test_short_trees_attend_in_float32_unless_the_sampler_reads_along(
    all_wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of them do on a processor that has no products of bfloat16.
    monkeypatch.setattr(products, "torch_multiplies_bfloat16", lambda: not all_wide)
    for length, store, short in [(256, None, True), (257, None, False), (256, ROOM, False)]:
        wide = short or all_wide
        generator = torch.Generator().manual_seed(length)
        query, key, value = torch.randn(3, 1, 2, length, 16, generator=generator).bfloat16()
        copies = ((0,),) if store else ()
        layout = Ragged.of([(0, [length])], CPU, store=store, copies=copies)
        found = layout.attend(0, query, key, value, 0.25)[0]
        exact = scaled_dot_product_attention(
            query.float(), key.float(), value.float(), is_causal=True, scale=0.25
        )
        same = (found == exact.bfloat16()[0].transpose(0, 1)).float().mean()
        assert (same > 0.999) == wide, (length, same)


def test_documents_stay_apart_from_trees_that_need_a_mask() -> None:
    layout = Ragged.of([(0, [8]), (3, [2, 2]), (2, [9])], CPU)
    assert [(batch.trees, batch.bias is None) for batch in layout.batches] == [
        (2, True),
        (1, False),
    ]


def scores(model: nn.Module, trees: Sequence[Tree]) -> list[Tensor]:
    with torch.no_grad():
        found, _, _ = score_trees(model, Forest.of(trees, CPU))
    return list(torch.split(found, [sum(map(len, t.branches)) for t in trees]))


@pytest.mark.parametrize("number", range(len(TREES)))
def test_a_tree_beside_longer_ones_scores_as_it_does_alone_in_bfloat16(
    directory: Path, number: int
) -> None:
    # The tiny model's matrices are small enough for one order of summation, however many rows.
    model = open_causal_lm(directory, "bfloat16")
    together = scores(model, TREES)[number]
    assert torch.equal(scores(model, [TREES[number]])[0], together)
