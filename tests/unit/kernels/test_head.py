"""Log-normalisers, entropies and the gradient over a vocabulary, against float64 by autograd."""

import pytest
import torch
from torch import Tensor

from burnish.kernels.head import backward_into, normalisers
from tests.unit.kernels.plain import (
    FORMATS,
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

INF = float("inf")
SHAPES = [(1, 1), (1, 257), (7, 31), (33, 256), (3, 1000)]
TEMPERATURES = [0.05, 0.3, 1.0, 2.0, 100.0]


def plain(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-normalisers and entropies; an impossible token adds nothing."""
    logprobs = (logits / temperature).log_softmax(-1)
    entropies = -(logprobs.exp() * logprobs.clamp(min=-1e30)).sum(-1)
    return (logits / temperature).logsumexp(-1), entropies


def targets_of(rows: int, size: int) -> Tensor:
    return torch.arange(rows) * 7 % size


def slopes(
    logits: Tensor, temperature: float, targets: Tensor, grads: tuple[Tensor, Tensor]
) -> Tensor:
    """What the kernel writes over a copy of the logits."""
    norms, entropies = normalisers(logits, temperature, True)
    out = logits.clone()
    backward_into(out, temperature, norms, entropies, targets, *grads)
    return out


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_backward(
    shape: tuple[int, int], dtype: torch.dtype, temperature: float
) -> None:
    logits, targets = 3 * normal(*shape, dtype=dtype), targets_of(*shape)
    grads = normal(shape[0], seed=1), normal(shape[0], seed=2)
    exact = logits.double().requires_grad_()
    wanted_norms, wanted_entropies = plain(exact, temperature)
    norms, entropies = normalisers(logits, temperature, True)
    assert_near(norms, wanted_norms.detach(), scale=3 / temperature)
    assert_near(entropies, wanted_entropies.detach(), scale=float(shape[1]) ** 0.5)
    only, nothing = normalisers(logits, temperature, False)
    assert_near(only, wanted_norms.detach(), scale=3 / temperature)
    assert not nothing.any()
    logprobs = exact.gather(-1, targets[:, None])[:, 0] / temperature - wanted_norms
    loss = (logprobs * grads[0].double()).sum() + (wanted_entropies * grads[1].double()).sum()
    (wanted,) = torch.autograd.grad(loss, exact)
    # Float32 holds log-probabilities of this size to 6e-8 of it: so exact is each probability.
    size = 10 * max(1.0, 10 / temperature) / temperature
    assert_near(slopes(logits, temperature, targets, grads), wanted, scale=size)


def test_the_gradient_without_entropies_is_onehot_less_probability() -> None:
    logits, targets = 3 * normal(9, 300), targets_of(9, 300)
    grad, none = normal(9, seed=1), torch.zeros(9)
    found = slopes(logits, 0.7, targets, (grad, none))
    onehot = torch.nn.functional.one_hot(targets, 300).double()
    wanted = (onehot - (logits.double() / 0.7).softmax(-1)) * grad.double()[:, None] / 0.7
    assert_near(found, wanted, scale=10)


@pytest.mark.parametrize("dtype", FORMATS)
def test_impossible_tokens_change_nothing(dtype: torch.dtype) -> None:
    possible = 3 * normal(5, 20, dtype=dtype)
    logits = torch.full((5, 300), -INF, dtype=dtype)
    logits[:, 100:120] = possible
    grads = normal(5, seed=1), normal(5, seed=2)
    norms, entropies = normalisers(logits, 0.8, True)
    few, fewer = normalisers(possible, 0.8, True)
    torch.testing.assert_close(norms, few, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(entropies, fewer, atol=1e-6, rtol=1e-6)
    found = slopes(logits, 0.8, torch.full((5,), 103), grads)
    wanted = slopes(possible, 0.8, torch.full((5,), 3), grads)
    torch.testing.assert_close(found[:, 100:120], wanted, atol=1e-6, rtol=8e-3)
    found[:, 100:120] = 0
    assert not found.any()


@pytest.mark.parametrize("size", [1, 2, 255, 1000])
def test_equal_logits_have_the_largest_entropy_and_no_slope_in_it(size: int) -> None:
    for level in (-1e4, 0.0, 60.0):
        logits = torch.full((2, size), level)
        norms, entropies = normalisers(logits, 1.0, True)
        torch.testing.assert_close(entropies, torch.full((2,), size).log())
        torch.testing.assert_close(norms, level + torch.full((2,), size).log())
        zero, one = torch.zeros(2), torch.ones(2)
        found = slopes(logits, 1.0, torch.zeros(2, dtype=torch.long), (zero, one))
        # The normaliser is held in float32, so probabilities are as exact as it is.
        assert float(found.abs().max()) <= 1e-6 * max(1.0, abs(level))


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_token_that_is_nearly_certain_costs_no_more_than_rounding(dtype: torch.dtype) -> None:
    logits = torch.full((1, 300), -40.0, dtype=dtype)
    logits[0, 7] = 40.0
    for temperature in (0.05, 0.3, 1.0):
        norms, entropies = normalisers(logits, temperature, True)
        assert abs(float(norms) - 40 / temperature) <= 40 / temperature * 1.2e-7
        assert 0 <= float(entropies) < 1e-30


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_other_rows(dtype: torch.dtype) -> None:
    logits, targets = 3 * normal(21, 333, dtype=dtype), targets_of(21, 333)
    grads = normal(21, seed=1), normal(21, seed=2)
    grads[1][4] = 0  # the shorter way

    def run() -> list[Tensor]:
        return [*normalisers(logits, 0.7, True), slopes(logits, 0.7, targets, grads)]

    assert_threads_do_not_matter(run)
    norms, entropies, found = run()
    for i in (0, 4, 20):
        row = slice(i, i + 1)
        norm, entropy = normalisers(logits[row], 0.7, True)
        assert same_bits(norm, norms[row]) and same_bits(entropy, entropies[row])
        own = slopes(logits[row], 0.7, targets[row], (grads[0][row], grads[1][row]))
        assert same_bits(own, found[row])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), INF])
def test_what_is_not_finite_spoils_its_row_and_no_other(bad: float, dtype: torch.dtype) -> None:
    logits, targets = normal(3, 300, dtype=dtype), targets_of(3, 300)
    logits[1, 290] = bad
    for with_entropy in (True, False):
        norms, entropies = normalisers(logits, 1.0, with_entropy)
        assert norms.isfinite().tolist() == [True, False, True]
        assert not with_entropy or entropies.isnan().tolist() == [False, True, False]
    found = slopes(logits, 1.0, targets, (torch.ones(3), torch.ones(3)))
    assert bool(found[1].isnan().all()) and bool(found[[0, 2]].isfinite().all())
    spoilt = torch.tensor([1.0, bad, 1.0])
    clean = normal(3, 300, dtype=dtype)
    for grads in ((spoilt, torch.ones(3)), (torch.ones(3), spoilt)):
        found = slopes(clean, 1.0, targets, grads)
        assert not found[1].isfinite().any() and bool(found[[0, 2]].isfinite().all())


def test_rows_without_any_possible_token_are_not_numbers_and_no_rows_give_none() -> None:
    norms, entropies = normalisers(torch.full((1, 9), -INF), 1.0, True)
    assert bool(norms.isnan().all() and entropies.isnan().all())
    norms, entropies = normalisers(torch.zeros(0, 9), 1.0, True)
    assert norms.shape == entropies.shape == (0,)
