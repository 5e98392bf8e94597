"""What stands between the matrix products of attention's backward pass, against autograd."""

import pytest
import torch
from torch import Tensor

from burnish.kernels.softmax import dots, softmax_backward
from tests.unit.kernels.plain import (
    FORMATS,
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

SCALE = 0.3
TREES = [(0, [11]), (3, [4, 1, 3]), (5, [2])]
LONGEST = 13


def reach() -> tuple[Tensor, Tensor, Tensor]:
    """Forks and starts of every token, and what sees what; padding sees itself."""
    forks = torch.zeros(3, LONGEST, dtype=torch.int32)
    starts = torch.arange(LONGEST, dtype=torch.int32).repeat(3, 1)
    seen = torch.eye(LONGEST, dtype=torch.bool).repeat(3, 1, 1)
    for tree, (stem, branches) in enumerate(TREES):
        first = stem
        for t in range(stem):
            starts[tree, t] = 0
            seen[tree, t, : t + 1] = True
        for length in branches:
            for t in range(first, first + length):
                forks[tree, t], starts[tree, t] = stem, first
                seen[tree, t, :stem] = seen[tree, t, first : t + 1] = True
            first += length
    return forks, starts, seen


def given(share: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Scores less the log of their normaliser, gradients of the probabilities, and dots."""
    groups = 2
    _, _, seen = reach()
    visible = seen[:, None, :, None]
    scores = 3 * normal(3, groups, LONGEST, share, LONGEST)
    hidden = scores.masked_fill(~visible, -float("inf"))
    scores -= (SCALE * hidden).logsumexp(-1, keepdim=True) / SCALE
    grad = normal(3, groups, LONGEST, share, LONGEST, seed=1)
    dot = ((SCALE * hidden).softmax(-1) * grad).sum(-1)
    return scores.to(dtype), grad.to(dtype), dot


def run(
    scores: Tensor, grad: Tensor, dot: Tensor, first: int = 0, last: int = LONGEST
) -> tuple[Tensor, Tensor]:
    forks, starts, _ = reach()
    mass, slope = (
        x[:, :, first:last, :, :last].clone(memory_format=torch.contiguous_format)
        for x in (scores, grad)
    )
    softmax_backward(mass, slope, dot, SCALE, first, forks, starts)
    return mass, slope


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("share", [1, 3, 4])
@pytest.mark.parametrize("block", [(0, LONGEST), (0, 1), (0, 7), (7, LONGEST), (12, LONGEST)])
def test_probabilities_and_slopes(block: tuple[int, int], share: int, dtype: torch.dtype) -> None:
    scores, grad, dot = given(share, dtype)
    first, last = block
    visible = reach()[2][:, None, :, None]
    p = torch.where(visible, (SCALE * scores.double()).exp(), 0.0)
    slope = SCALE * p * (grad.double() - dot.double()[..., None])
    part = (slice(None), slice(None), slice(first, last), slice(None), slice(0, last))
    found = run(scores, grad, dot, first, last)
    assert_near(found[0], p[part])
    assert_near(found[1], slope[part], scale=SCALE * float(grad.abs().max()))
    if dtype == torch.float32:
        torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("share", "size"), [(1, 64), (3, 16), (4, 80)])
def test_dots(share: int, size: int, dtype: torch.dtype) -> None:
    heads = 2 * share
    one, other = normal(20, heads, size, dtype=dtype), normal(20, heads, size, seed=1, dtype=dtype)
    tokens, places = torch.tensor([3, 4, 5, 19]), torch.tensor([0, 1, 2, LONGEST])
    found = torch.zeros(2, 2, LONGEST, share)
    dots(one, other, tokens, places, found)
    wanted = torch.zeros(2 * LONGEST, heads, dtype=torch.float64)
    wanted[places] = (one.double() * other.double()).sum(-1)[tokens]
    wanted = wanted.view(2, LONGEST, 2, share).transpose(1, 2)
    assert_near(found, wanted)

    def again() -> list[Tensor]:
        dots(one, other, tokens, places, found)
        return [found]

    assert_threads_do_not_matter(again)
    alone = torch.zeros_like(found)
    dots(one, other, tokens[3:], places[3:], alone)
    assert same_bits(alone[1], found[1])
    one[4, 0, 0] = float("nan")
    dots(one, other, tokens, places, found)
    assert bool(found[0, 0, 1, 0].isnan()) and int(found.isnan().sum()) == 1


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_other_trees(dtype: torch.dtype) -> None:
    scores, grad, dot = given(3, dtype)
    assert_threads_do_not_matter(lambda: run(scores, grad, dot))
    whole = run(scores, grad, dot)
    forks, starts, _ = reach()
    mass, slope = scores[1:2].clone(), grad[1:2].clone()
    softmax_backward(mass, slope, dot[1:2], SCALE, 0, forks[1:2], starts[1:2])
    assert same_bits(mass, whole[0][1:2]) and same_bits(slope, whole[1][1:2])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("which", ["score", "gradient", "dot"])
def test_a_nan_comes_out_and_what_is_not_seen_does_not(which: str, dtype: torch.dtype) -> None:
    scores, grad, dot = given(1, dtype)
    nan = float("nan")
    # The second tree's token 8 is in its third branch, and does not see token 4 of the first.
    if which == "score":
        scores[1, 0, 8, 0, [1, 4]] = nan
    elif which == "gradient":
        grad[1, 0, 8, 0, [1, 4]] = nan
    else:
        dot[1, 0, 8, 0] = nan
    mass, slope = run(scores, grad, dot)
    assert bool(slope[1, 0, 8, 0, 1].isnan()) and not slope[1, 0, 8, 0, 4]
    assert bool(mass[1, 0, 8, 0, 1].isnan()) == (which == "score")
    slope[1, 0, 8] = mass[1, 0, 8] = 0
    assert bool(slope.isfinite().all() and mass.isfinite().all())
