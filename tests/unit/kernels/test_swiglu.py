"""silu(gate) * up against the same in float64 by autograd."""

import pytest
import torch
from torch import Tensor

from burnish.kernels.swiglu import swiglu, swiglu_backward
from tests.unit.kernels.plain import (
    FORMATS,
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

SHAPES = [(1, 1), (1, 80), (7, 31), (33, 64), (5, 1537)]


def plain(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return gate * torch.sigmoid(gate) * up


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_backward(shape: tuple[int, int], dtype: torch.dtype) -> None:
    rows, size = shape
    gate_up, grad = 3 * normal(rows, 2 * size, dtype=dtype), normal(rows, size, seed=1, dtype=dtype)
    exact = gate_up.double().requires_grad_()
    assert_near(swiglu(gate_up), plain(exact).detach())
    (slopes,) = torch.autograd.grad(plain(exact), exact, grad.double())
    found, again = swiglu_backward(grad, gate_up)
    assert_near(found, slopes)
    assert same_bits(again, swiglu(gate_up))


@pytest.mark.parametrize("dtype", FORMATS)
def test_gates_that_are_wide_open_or_shut(dtype: torch.dtype) -> None:
    gates = [0.0, -0.0, 20.0, 80.0, 100.0, 1e4, 1e30, -20.0, -80.0, -100.0, -1e4, -1e30]
    gate_up = torch.tensor([[g, 2.0] for g in gates], dtype=dtype)
    exact = gate_up.double().requires_grad_()
    forward, (slopes,) = plain(exact), torch.autograd.grad(plain(exact).sum(), exact)
    # Below -88 the gate is e^-88 |gate| instead of e^-|gate| |gate|: nothing, until 1e30.
    small = exact.detach()[:, 0] < -1e4
    for found, wanted in (
        (swiglu(gate_up), forward.detach()),
        (swiglu_backward(torch.ones_like(gate_up[:, :1]), gate_up)[0], slopes),
    ):
        one = wanted.abs().clamp(min=1)
        error = ((found.double() - wanted) / one).abs()
        assert float(error[~small].max()) <= 2.0**-8 if dtype == torch.bfloat16 else 1e-6
        assert float(found[small].abs().max()) < 1e-7


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_other_rows(dtype: torch.dtype) -> None:
    gate_up, grad = normal(37, 2 * 77, dtype=dtype), normal(37, 77, seed=1, dtype=dtype)

    def run() -> list[Tensor]:
        return [swiglu(gate_up), *swiglu_backward(grad, gate_up)]

    assert_threads_do_not_matter(run)
    out, slopes, _ = run()
    for i in (0, 5, 36):
        row = slice(i, i + 1)
        assert same_bits(swiglu(gate_up[row]), out[row])
        assert same_bits(swiglu_backward(grad[row], gate_up[row])[0], slopes[row])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [3, 40 + 3])
def test_what_is_not_finite_shows_where_it_is(place: int, bad: float, dtype: torch.dtype) -> None:
    gate_up, grad = normal(3, 80, dtype=dtype), normal(3, 40, seed=1, dtype=dtype)
    gate_up[1, place] = bad
    found = swiglu(gate_up)
    assert not found[1, 3].isfinite() and int(found.isfinite().sum()) == 3 * 40 - 1
    slopes = swiglu_backward(grad, gate_up)[0]
    assert not slopes[1, [3, 43]].isfinite().all() and int((~slopes.isfinite()).sum()) <= 2
    grad[2, 5] = bad
    assert not swiglu_backward(grad, gate_up)[0][2, [5, 45]].isfinite().any()


def test_no_rows_give_none() -> None:
    empty = torch.zeros(0, 8)
    assert swiglu(empty).shape == (0, 4)
    assert swiglu_backward(torch.zeros(0, 4), empty)[0].shape == (0, 8)
