"""RMS norms with the sum before them, against the same in float64 by autograd."""

import math

import pytest
import torch
from torch import Tensor

from burnish.kernels.norm import add_rms_norm, rms_norm, rms_norm_again, rms_norm_backward
from tests.unit.kernels.plain import (
    FORMATS,
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

EPS = 1e-5
SHAPES = [(1, 16), (1, 80), (7, 31), (31, 64), (33, 257), (70, 576)]


def plain(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight


def given(rows: int, size: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """x, y, the weight, and gradients of the norm and of the sum."""
    x, y, grad, beside = (3 * normal(rows, size, seed=s, dtype=dtype) for s in range(4))
    return x, y, 1 + 0.3 * normal(size, seed=4, dtype=dtype), grad, beside


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, y, weight, _, _ = given(*shape, dtype)
    total, out, factors = add_rms_norm(x, y, weight, EPS)
    assert same_bits(total, x + y)
    assert_near(out, plain(total.double(), weight.double()))
    assert_near(factors, torch.rsqrt(total.double().square().mean(-1) + EPS))
    alone, own = rms_norm(total, weight, EPS)
    assert same_bits(alone, out) and same_bits(own, factors)
    assert same_bits(rms_norm_again(total, weight, factors), out)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_backward(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, _, weight, grad, beside = given(*shape, dtype)
    _, factors = rms_norm(x, weight, EPS)
    found = rms_norm_backward(grad, x, weight, factors, beside)
    exact = x.double().requires_grad_(), weight.double().requires_grad_()
    loss = (plain(*exact) * grad.double()).sum() + (exact[0] * beside.double()).sum()
    grads = torch.autograd.grad(loss, exact)
    assert_near(found[0], grads[0])
    # The weight's gradient is a sum over rows of numbers of this size.
    assert_near(found[1], grads[1], scale=float((grad.double() * plain(x.double(), 1)).abs().max()))


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_other_rows(dtype: torch.dtype) -> None:
    x, y, weight, grad, beside = given(37, 80, dtype)

    def run() -> list[Tensor]:
        total, out, factors = add_rms_norm(x, y, weight, EPS)
        return [total, out, factors, *rms_norm_backward(grad, total, weight, factors, beside)]

    assert_threads_do_not_matter(run)
    total, out, factors, grad_x, _ = run()
    for i in (0, 5, 36):
        row = slice(i, i + 1)
        alone = add_rms_norm(x[row], y[row], weight, EPS)
        assert all(same_bits(a, b[row]) for a, b in zip(alone, (total, out, factors), strict=True))
        slopes, _ = rms_norm_backward(grad[row], total[row], weight, factors[row], beside[row])
        assert same_bits(slopes, grad_x[row])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_shows_in_its_row_and_in_no_other(
    bad: float, dtype: torch.dtype
) -> None:
    x, y, weight, grad, beside = given(3, 40, dtype)
    x[1, 17] = bad
    total, out, factors = add_rms_norm(x, y, weight, EPS)
    grad_x, grad_weight = rms_norm_backward(grad, total, weight, factors, beside)
    for found in (total, out, grad_x):
        assert not found[1].isfinite().all() and bool(found[[0, 2]].isfinite().all())
    # An infinite sum divides the row's other numbers to 0; torch's own norm does as much.
    assert bool(out[1].isnan().all()) or (math.isinf(bad) and bool(out[1, 17].isnan()))
    assert not grad_weight.isfinite().all()


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("which", ["grad", "beside"])
def test_gradients_that_are_not_finite_show_in_their_row(which: str, dtype: torch.dtype) -> None:
    x, _, weight, grad, beside = given(3, 40, dtype)
    _, factors = rms_norm(x, weight, EPS)
    for bad in (float("nan"), float("inf"), -float("inf")):
        {"grad": grad, "beside": beside}[which][1, 3] = bad
        grad_x, _ = rms_norm_backward(grad, x, weight, factors, beside)
        assert not grad_x[1, 3].isfinite() and bool(grad_x[[0, 2]].isfinite().all())


def test_rows_of_zeros_stay_zeros_and_no_rows_give_none() -> None:
    zeros, weight = torch.zeros(2, 8), torch.ones(8)
    out, factors = rms_norm(zeros, weight, EPS)
    assert not out.any()
    grad_x, grad_weight = rms_norm_backward(zeros + 1, zeros, weight, factors, zeros)
    torch.testing.assert_close(grad_x, torch.full((2, 8), EPS**-0.5))
    assert not grad_weight.any()
    empty = torch.zeros(0, 8)
    out, factors = rms_norm(empty, weight, EPS)
    assert out.shape == (0, 8) and factors.shape == (0,)
    assert not rms_norm_backward(empty, empty, weight, factors, empty)[1].any()
