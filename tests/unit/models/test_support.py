"""Scores under truncated distributions: of the kept set, renormalised, with its gradient."""

import itertools

import pytest
import torch
from torch import Tensor

from burnish.models import support, token_scores
from burnish.models.support import WHOLE, Support
from burnish.models.token_scores import token_scores as scored
from tests.unit.kernels.plain import same_bits

SUPPORTS = [
    Support(top_k=k, top_p=p, min_p=m)
    for k, p, m in itertools.product([0, 1, 5], [1.0, 0.9, 0.3], [0.0, 0.1])
]
TEMPERATURES = [0.3, 1.0, 2.0]
INF = float("inf")


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def kept(logits: Tensor, temperature: float, how: Support) -> list[int]:
    """The kept set of one row, the slow way."""
    probability = (logits.double() / temperature).softmax(-1).tolist()
    order = sorted(range(len(probability)), key=lambda i: -probability[i])
    if how.top_k:
        floor = probability[order[min(how.top_k, len(order)) - 1]]
        order = [i for i in order if probability[i] >= floor]
    within, total, chosen = sum(probability[i] for i in order), 0.0, []
    for i in order:
        if how.top_p < 1 and total >= how.top_p * within:
            break
        chosen.append(i)
        total += probability[i]
    return [i for i in chosen if probability[i] >= how.min_p * probability[order[0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_what_is_kept_keeps_its_logit_and_the_rest_is_impossible(
    temperature: float, compiled: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(support, "supports", lambda _: False)
    logits = (2 * normal(9, 300)).to(dtype)
    logits[3, 20:] = -INF
    always = torch.arange(9) * 31
    for how in SUPPORTS:
        for also in (None, always):
            found = logits.clone()
            how.truncate_(found, temperature, also)
            for row, own in enumerate(logits):
                expected = torch.full_like(own, -INF)
                wanted = kept(own, temperature, how) + ([] if also is None else [int(also[row])])
                expected[wanted] = own[wanted]
                assert torch.equal(found[row], expected), (how, row)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), INF])
def test_a_row_that_is_not_finite_is_not_made_so(
    bad: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(support, "supports", lambda _: False)
    logits = normal(3, 300).float()
    logits[1, 123] = bad
    for how in SUPPORTS:
        found = logits.clone()
        how.truncate_(found, 0.7, torch.tensor([1, 2, 3]))
        assert found.logsumexp(-1).isfinite().tolist() == [True, False, True], how


def test_the_whole_support_changes_nothing() -> None:
    logits = normal(3, 300).float()
    before = logits.clone()
    WHOLE.truncate_(logits, 0.5)
    assert WHOLE.whole and torch.equal(logits, before)
    assert not any(s.whole for s in (Support(top_k=1), Support(top_p=0.99), Support(min_p=0.01)))


def naive(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, how: Support
) -> tuple[Tensor, Tensor]:
    """Row by row over the kept set and the target, which are looked up beforehand."""
    logits = hidden @ weight.T / temperature
    logprobs, entropies = [], []
    for row, target in zip(logits, targets.tolist(), strict=True):
        chosen = sorted({*kept(row.detach(), 1.0, how), target})
        own = row[chosen].log_softmax(-1)
        logprobs.append(own[chosen.index(target)])
        entropies.append(-(own.exp() * own).sum())
    return torch.stack(logprobs), torch.stack(entropies)


def made() -> tuple[Tensor, Tensor, Tensor]:
    return normal(11, 8), normal(120, 8, seed=1), torch.arange(11) * 13 % 120


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("chunk", [512, 4])
def test_scores_and_gradients_are_those_of_the_renormalised_kept_set(
    temperature: float, dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_scores, "CHUNK", chunk)
    rough = {torch.float64: 1e-9, torch.float32: 1e-5}[dtype]
    for how in SUPPORTS:
        hidden, weight, targets = made()
        exact = hidden.requires_grad_(), weight.requires_grad_()
        wanted = naive(*exact, targets, temperature, how)
        own = tuple(x.detach().to(dtype).requires_grad_() for x in exact)
        found = scored(*own, targets, temperature=temperature, support=how)
        sums, slopes = [], []
        for logprobs, entropies in (wanted, found):
            weights = normal(2, 11, seed=2).to(logprobs.dtype)
            sums.append((weights[0] * logprobs).sum() + (weights[1] * entropies).sum())
        slopes = [torch.autograd.grad(sums[0], exact), torch.autograd.grad(sums[1], own)]
        for a, b in [*zip(found, wanted, strict=True), *zip(slopes[1], slopes[0], strict=True)]:
            assert (a.detach().double() - b.detach()).norm() <= rough * (1 + b.detach().norm()), how


@pytest.mark.parametrize("how", [Support(top_k=5), Support(top_p=0.9), Support(min_p=0.1)])
def test_gradients_are_those_of_finite_differences(how: Support) -> None:
    hidden, weight, targets = made()
    hidden, targets = hidden[:3], targets[:3]
    inputs = hidden.requires_grad_(), weight.requires_grad_()

    def run(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return scored(h, w, targets, temperature=0.8, support=how)

    assert torch.autograd.gradcheck(run, inputs, eps=1e-7, atol=1e-5)


def test_a_target_outside_the_kept_set_is_kept_beside_it() -> None:
    hidden, weight = torch.eye(3).float(), torch.tensor([[5.0, 0, 0], [4.0, 0, 0], [0, 0, 0]])
    for target, wanted in ((0, 1.0), (1, 1 / (1 + torch.tensor(1.0).exp()))):
        logprobs, _ = scored(hidden[:1], weight, torch.tensor([target]), support=Support(top_k=1))
        torch.testing.assert_close(logprobs.exp(), torch.tensor([float(wanted)]))


@pytest.mark.parametrize("how", [Support(top_k=5, top_p=0.9), Support(top_p=0.3, min_p=0.1)])
def test_a_row_scores_alike_alone_and_among_others(how: Support) -> None:
    logits = normal(20, 700).bfloat16()
    together = logits.clone()
    how.truncate_(together, 0.9, torch.arange(20))
    for i in (0, 7, 19):
        alone = logits[i : i + 1].clone()
        how.truncate_(alone, 0.9, torch.tensor([i]))
        assert same_bits(alone, together[i : i + 1])
