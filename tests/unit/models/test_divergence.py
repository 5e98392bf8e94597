"""Divergences of two models in chunks, against the naive form that holds all logits at once."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from burnish.algos.distill import Distillation
from burnish.algos.kl import exact_kl
from burnish.models import divergence
from burnish.models.divergence import divergences
from burnish.models.token_scores import head_logits

VOCABULARY = 41


def made(
    num: int = 11, dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states and head of a student, and of a teacher of another width."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)

    student = normal(num, 4).requires_grad_(), normal(VOCABULARY, 4).requires_grad_()
    return *student, normal(num, 7), normal(VOCABULARY, 7)


def naive(student: Tensor, weight: Tensor, teacher: Tensor, head: Tensor, measure: Any) -> Tensor:
    return measure(head_logits(student, weight), head_logits(teacher, head))


@pytest.mark.parametrize("chunk", [256, 4, 1])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_values_and_gradients_are_the_naive_ones_in_chunks_of_any_size(
    beta: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "CHUNK", chunk)
    student, weight, teacher, head = made()
    algorithm = Distillation(beta=beta, temperature=0.8)
    weights = torch.linspace(-1, 2, len(student), dtype=torch.float64)
    found, observed = divergences(
        student, weight, teacher, head, algorithm.losses, algorithm.observed
    )
    expected = algorithm.losses(student @ weight.T, teacher @ head.T)
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad((weights * x).sum(), (student, weight)) for x in (found, expected)
    ]
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        seen = algorithm.observed(student @ weight.T, teacher @ head.T)
    torch.testing.assert_close(observed, seen)
    assert not observed.requires_grad


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_gradients_are_those_of_finite_differences(
    beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "CHUNK", 2)
    student, weight, teacher, head = made(num=5)

    def loss(student: Tensor, weight: Tensor) -> Tensor:
        return divergences(student, weight, teacher, head, Distillation(beta=beta).losses)[0]

    assert torch.autograd.gradcheck(loss, (student, weight))


def test_the_teacher_gets_no_gradient_and_a_frozen_head_neither() -> None:
    student, weight, teacher, head = made()
    frozen = weight.detach()
    for leaf in (teacher, head):
        leaf.requires_grad_()
    divergences(student, frozen, teacher, head, exact_kl)[0].sum().backward()
    assert student.grad is not None and bool(student.grad.any())
    assert teacher.grad is None and head.grad is None and frozen.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_positions_give_no_gradient(dtype: torch.dtype) -> None:
    student, weight, teacher, head = made(num=0, dtype=dtype)
    found, _ = divergences(student, weight, teacher, head, exact_kl)
    assert found.shape == (0,)
    found.sum().backward()
    assert weight.grad is not None and not weight.grad.any()


def test_positions_do_not_touch_one_another() -> None:
    student, weight, teacher, head = made()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    found, _ = divergences(student, weight, teacher, head, exact_kl)
    moved, _ = divergences(student[order], weight, teacher[order], head, exact_kl)
    torch.testing.assert_close(moved, found[order], rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(found[3], student)
    assert bool(gradient[3].any()) and not gradient[[i for i in range(11) if i != 3]].any()


def test_narrow_weights_are_compared_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "CHUNK", 3)
    student, weight, teacher, head = made(dtype=torch.bfloat16, scale=0.5)
    found, _ = divergences(student, weight, teacher, head, exact_kl)
    assert found.dtype == torch.float32
    with torch.no_grad():
        expected = naive(student, weight, teacher, head, exact_kl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert student.grad is not None and weight.grad is not None
    assert student.grad.dtype == weight.grad.dtype == torch.bfloat16
    wide = [x.detach().float().requires_grad_() for x in (student, weight)]
    divergences(wide[0], wide[1], teacher.float(), head.float(), exact_kl)[0].sum().backward()
    for narrow, leaf in zip((student, weight), wide, strict=True):
        assert narrow.grad is not None and leaf.grad is not None
        assert (narrow.grad.float() - leaf.grad).norm() < 0.03 * leaf.grad.norm()


def test_many_small_chunks_add_up_in_narrow_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chunk in (1000, 1):
        monkeypatch.setattr(divergence, "CHUNK", chunk)
        student, weight, teacher, head = made(num=800, dtype=torch.bfloat16, scale=0.5)
        shifted = (student + 1).detach().requires_grad_()  # so that the addends do not cancel
        divergences(shifted, weight, teacher, head, exact_kl)[0].sum().backward()
        assert weight.grad is not None
        found.append(weight.grad.float())
    assert (found[0] - found[1]).norm() < 0.01 * found[0].norm()


class _Rows(TorchDispatchMode):
    """The most rows of logits that any one tensor held."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and tensor.dim() == 2 and VOCABULARY in tensor.shape:
                rows = tensor.numel() // VOCABULARY
                self.most = max(self.most, rows)
        return out


def test_logits_never_exist_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "CHUNK", 8)
    student, weight, teacher, head = made(num=100)
    algorithm = Distillation(beta=0.5)
    with _Rows() as seen:
        found, _ = divergences(student, weight, teacher, head, algorithm.losses, algorithm.observed)
        found.sum().backward()
    assert 0 < seen.most <= 8
    with _Rows() as whole:
        algorithm.losses(student @ weight.T, teacher @ head.T).sum().backward()
    assert whole.most == 100  # the naive form is seen


def test_nothing_to_compare_is_nothing() -> None:
    student, weight, teacher, head = made(num=0)
    found, observed = divergences(student, weight, teacher, head, exact_kl)
    assert found.shape == (0,) and observed.shape == (0, 0)
