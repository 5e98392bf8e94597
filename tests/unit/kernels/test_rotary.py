"""Rotary positions on the way between two layouts, against plain indexing in float64."""

import pytest
import torch
from torch import Tensor

from burnish.kernels.rotary import from_trees, to_trees, turn
from tests.unit.kernels.plain import (
    FORMATS,
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

LONGEST = 9
TOKENS = torch.tensor([4, 5, 6, 0, 1, 9, 10, 11, 12])
PLACES = torch.tensor([0, 1, 2, LONGEST, LONGEST + 1, 18, 19, 20, 21])
"""Trees of 3, 2 and 4 tokens out of a row of 13; its others belong to another batch."""
SHAPES = [(16, 1, 1), (16, 2, 3), (64, 3, 4), (80, 1, 3), (80, 2, 1)]


def angles(size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Any numbers, both halves different: whatever `cos` and `sin` are, backward is transposed."""
    return normal(13, size, seed=7, dtype=dtype), normal(13, size, seed=8, dtype=dtype)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """transformers' x cos + rotate_half(x) sin."""
    low, high = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-high, low], dim=-1) * sin[:, None]


def placed(x: Tensor, first: int, groups: int, share: int, how: tuple[Tensor, Tensor] | None):
    heads = x[:, first : first + groups * share]
    if how is not None:
        heads = turned(heads, *how)
    flat = x.new_zeros(3 * LONGEST, groups * share, x.shape[-1])
    flat = flat.index_copy(0, PLACES, heads[TOKENS])
    return flat.view(3, LONGEST, groups, share, -1).transpose(1, 2)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_angles", [True, False])
def test_to_trees_and_back(
    with_angles: bool, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    size, groups, share = shape
    first = 2
    x = normal(13, first + groups * share + 1, size, dtype=dtype)
    how = angles(size, dtype) if with_angles else None
    wide = (how[0].double(), how[1].double()) if how else None
    exact = x.double().requires_grad_()
    wanted = placed(exact, first, groups, share, wide)
    found = torch.zeros(wanted.shape, dtype=dtype)
    to_trees(x, first, how, TOKENS, PLACES, found)
    assert_near(found, wanted.detach())
    grad = normal(*wanted.shape, seed=2, dtype=dtype)
    (slopes,) = torch.autograd.grad(wanted, exact, grad.double())
    back = torch.zeros_like(x)
    from_trees(grad, how, TOKENS, PLACES, back, first)
    assert_near(back, slopes)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", [2, 16, 80])
def test_turning_in_place_leaves_the_other_heads(size: int, dtype: torch.dtype) -> None:
    x, how = normal(13, 5, size, dtype=dtype), angles(size, dtype)
    found = x.clone()
    turn(found, 3, how)
    assert_near(found[:, :3], turned(x[:, :3].double(), how[0].double(), how[1].double()))
    assert same_bits(found[:, 3:].contiguous(), x[:, 3:].contiguous())


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_other_tokens(dtype: torch.dtype) -> None:
    x, how = normal(13, 6, 80, dtype=dtype), angles(80, dtype)

    def run() -> list[Tensor]:
        here, out = x.clone(), x.new_zeros(3, 2, LONGEST, 3, 80)
        turn(here, 4, how)
        to_trees(x, 0, how, TOKENS, PLACES, out)
        back = torch.zeros_like(x)
        from_trees(out, how, TOKENS, PLACES, back, 0)
        return [here, out, back]

    assert_threads_do_not_matter(run)
    here, out, _ = run()
    token, place = TOKENS[4], PLACES[4]
    alone = x[token : token + 1].clone()
    turn(alone, 4, (how[0][token : token + 1], how[1][token : token + 1]))
    assert same_bits(alone, here[token : token + 1])
    single = x.new_zeros(3, 2, LONGEST, 3, 80)
    to_trees(x, 0, how, TOKENS[4:5], PLACES[4:5], single)
    tree, at = int(place) // LONGEST, int(place) % LONGEST
    assert same_bits(single[tree, :, at].contiguous(), out[tree, :, at].contiguous())


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_head_and_in_no_other(
    bad: float, dtype: torch.dtype
) -> None:
    x, how = normal(13, 6, 16, dtype=dtype), angles(16, dtype)
    x[5, 4, 3] = bad  # the second token of the first tree
    for given in (how, None):
        out = x.new_zeros(3, 2, LONGEST, 3, 16)
        to_trees(x, 0, given, TOKENS, PLACES, out)
        assert not out[0, 1, 1, 1, 3].isfinite()
        out[0, 1, 1, 1] = 0
        assert bool(out.isfinite().all())


def test_no_tokens_write_nothing() -> None:
    none = torch.zeros(0, dtype=torch.long)
    x, out = torch.ones(13, 2, 16), torch.zeros(1, 1, 4, 1, 16)
    to_trees(x, 0, angles(16, torch.float32), none, none, out)
    from_trees(out, None, none, none, x, 0)
    turn(x[:0], 2, (x[:0, 0], x[:0, 0]))
    assert not out.any() and bool((x == 1).all())
