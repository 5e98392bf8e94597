"""AdamW on split masters against the same in float64, a weight at a time."""

import pytest
import torch
from torch import Tensor

from burnish.kernels.adamw import STRIP, masters, set_masters, step, sum_of_squares
from tests.unit.kernels.plain import FORMATS, assert_threads_do_not_matter, normal, same_bits

PERIOD = 1031
SIZES = [1, 31, PERIOD, PERIOD + 1, STRIP + 5, 2 * STRIP]
SETTINGS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}


def thresholds() -> Tensor:
    generator = torch.Generator().manual_seed(9)
    drawn = torch.randint(0, 1 << 16, (PERIOD,), generator=generator, dtype=torch.int32)
    drawn[:3] = torch.tensor([0, 0xFFFF, 0x8000])
    return drawn.to(torch.uint16)


class Weights:
    """Masters, split; moments; a gradient."""

    def __init__(self, size: int, dtype: torch.dtype = torch.float32) -> None:
        self.given = normal(size) * 10 ** normal(size, seed=1)
        self.live = torch.empty(size, dtype=torch.bfloat16)
        self.rest = torch.empty(size, dtype=torch.uint16)
        set_masters(self.live, self.rest, thresholds(), self.given)
        self.moments = torch.zeros(size), torch.zeros(size)
        self.grads = [normal(size, seed=2 + n, dtype=dtype) for n in range(3)]

    def masters(self) -> Tensor:
        return masters(self.live, self.rest, thresholds())

    def step(self, count: int, **settings: float) -> None:
        step(
            self.live, self.rest, *self.moments, self.grads[count - 1], thresholds(),
            count=count, **settings,
        )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_a_master_is_had_again_to_the_bit_and_its_weight_is_one_of_its_neighbours(
    size: int,
) -> None:
    weights = Weights(size)
    assert same_bits(weights.masters(), weights.given)
    apart = (weights.live.double() - weights.given.double()).abs() / weights.given.abs().double()
    assert float(apart.max()) <= 2.0**-7


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beta2", [0.95, 0.999, 0.99999])
def test_steps(beta2: float, size: int, dtype: torch.dtype) -> None:
    weights, scale = Weights(size, dtype), 0.37
    settings = SETTINGS | {"beta2": beta2}
    lr, beta1, decay = settings["lr"], settings["beta1"], settings["weight_decay"]
    mean, square = torch.zeros(()), torch.zeros(())
    for count in (1, 2, 3):
        master = weights.masters().double() * (1 - lr * decay)
        weights.step(count, **settings, scale=scale)
        g = scale * weights.grads[count - 1].double()
        mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g**2
        slope = mean / (1 - beta1**count) / ((square / (1 - beta2**count)).sqrt() + 1e-8)
        master -= lr * slope
        torch.testing.assert_close(weights.moments[0].double(), mean, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(weights.moments[1].double(), square, atol=1e-9, rtol=2e-6)
        # The masters are float32: a step is as exact as they hold it.
        error = (weights.masters().double() - master).abs()
        assert float((error - 2e-7 * master.abs() - 3e-6 * lr).max()) <= 0


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", SIZES)
def test_sum_of_squares(size: int, dtype: torch.dtype) -> None:
    grad = normal(size, dtype=dtype)
    exact = float(grad.double().square().sum())
    assert sum_of_squares(grad) == pytest.approx(exact, rel=3e-6)
    grad[size // 2] = float("nan")
    assert sum_of_squares(grad) != sum_of_squares(grad)
    grad[size // 2] = float("inf")
    assert sum_of_squares(grad) == float("inf")


def test_of_nothing_there_is_nothing() -> None:
    empty = torch.empty(0)
    assert sum_of_squares(empty) == 0
    Weights(0).step(1, **SETTINGS, scale=1.0)


@pytest.mark.parametrize("dtype", FORMATS)
def test_threads_do_not_matter(dtype: torch.dtype) -> None:
    def run() -> list[Tensor]:
        weights = Weights(2 * STRIP + 77, dtype)
        for count in (1, 2):
            weights.step(count, **SETTINGS, scale=0.5)
        squares = torch.tensor(sum_of_squares(weights.grads[0]), dtype=torch.float64)
        return [weights.live, weights.masters(), *weights.moments, squares]

    assert_threads_do_not_matter(run)


def test_a_nan_in_the_gradient_comes_out_in_its_master() -> None:
    weights = Weights(100)
    weights.grads[0][17] = float("nan")
    weights.step(1, **SETTINGS, scale=1.0)
    assert bool(weights.masters().isnan()[17]) and int(weights.masters().isnan().sum()) == 1
