"""Numbers inside loops: widening, narrowing, the exponential and the largest of a row."""

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor

from burnish.kernels.numbers import array, exp, largest, narrow, supports, wide
from tests.unit.kernels.plain import same_bits

INF, NAN = float("inf"), float("nan")


@njit
def _convert(source, target):
    for i in range(len(source)):
        target[i] = narrow(wide(source[i]), target)


@njit
def _exp(source, target):
    for i in range(len(source)):
        target[i] = exp(source[i])


@njit
def _largest(row):
    return largest(row)


def converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    out = torch.empty(x.shape, dtype=dtype)
    _convert(array(x), array(out))
    return out


def test_every_bfloat16_is_widened_to_its_value_and_comes_back() -> None:
    every = torch.arange(1 << 16).to(torch.uint16).view(torch.bfloat16)
    assert same_bits(converted(every, torch.float32), every.float())
    assert same_bits(converted(every, torch.bfloat16), every)


def test_floats_are_narrowed_to_the_nearest_and_halves_to_even() -> None:
    every = torch.arange(0, 0x7F80, dtype=torch.int32)
    bits = [(every << 16) + low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    x = torch.cat(bits).view(torch.float32)
    x = torch.cat([x, -x, torch.tensor([INF, -INF, 3.4e38, 0.0, -0.0])])
    assert same_bits(converted(x, torch.bfloat16), x.bfloat16())


def test_pythons_forms_are_those_of_the_loops() -> None:
    every = np.arange(0, 1 << 16, 7).astype(np.uint16)
    widened = np.empty(len(every), np.float32)
    _convert(every, widened)
    found = np.array([wide(number) for number in every], np.float32)
    np.testing.assert_array_equal(found.view(np.uint32), widened.view(np.uint32))
    x = np.float32([1.0, -1.00390625, 1.01171875, 3.4e38, 1e-40, -0.0, INF, -INF])
    narrowed, same = np.empty(len(x), np.uint16), np.empty(len(x), np.float32)
    _convert(x, narrowed), _convert(x, same)
    assert [narrow(number, narrowed) for number in x] == narrowed.tolist()
    assert [narrow(wide(number), same) for number in x] == same.tolist()


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FFF0000, 0xFFFF0000, 0x7F810000])
def test_no_nan_of_arithmetic_or_bfloat16_is_narrowed_to_a_number(bits: int) -> None:
    x = torch.from_numpy(np.array([bits], np.uint32)).view(torch.float32)
    assert bool(converted(x, torch.bfloat16).isnan().all())


def test_the_exponential_is_exact_to_about_a_unit_of_the_last_place() -> None:
    x = torch.cat([torch.linspace(-87, 88, 200_001), torch.linspace(-1e-3, 1e-3, 10_001)])
    out = torch.empty_like(x)
    _exp(x.numpy(), out.numpy())
    exact = np.exp(x.double().numpy())
    unit = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(out.numpy() - exact) / unit).max() < 1.1


def test_the_exponential_at_its_ends() -> None:
    x = torch.tensor([-INF, -1e30, -87.1, -0.0, 0.0, 88.1, INF, NAN, -NAN])
    out = torch.empty_like(x)
    _exp(x.numpy(), out.numpy())
    top = torch.tensor(88.0).exp()
    assert out[:5].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    torch.testing.assert_close(out[5:7], top.expand(2))
    assert bool(out[7:].isnan().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 1000])
def test_the_largest_of_a_row(size: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(size)
    for shift in (0.0, -100.0, 100.0):
        x = (torch.randn(size, generator=generator) + shift).to(dtype)
        assert _largest(array(x)) == float(x.max())
        x[size // 2] = -INF
        assert _largest(array(x)) == float(x.max())
        x[size // 2] = INF
        assert _largest(array(x)) == INF
        x[size // 3] = NAN
        assert np.isnan(_largest(array(x)))


def test_the_largest_of_nothing_is_not_a_number() -> None:
    assert np.isnan(_largest(np.empty(0, np.float32)))


def test_what_loops_work_on() -> None:
    x = torch.zeros(4, 4)
    assert supports(x, x.bfloat16())
    assert not supports(x, x.double()) and not supports(x.half())
    with pytest.raises(AssertionError):
        array(x.T[:, :2])
