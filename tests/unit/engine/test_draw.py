"""Draws follow the distribution they claim, and report its log-probabilities."""

import math

import pytest
import torch
from torch import Tensor

from burnish.engine.draw import draw


def logits_of(vocabulary: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed))


def even(n: int) -> Tensor:
    """Uniforms without chance: the middle of n equal parts."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def kept(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """The exact distribution, written the slow way, in float64."""
    probability = (logits.double() / temperature).softmax(-1)
    order = sorted(range(len(logits)), key=lambda i: -probability[i].item())
    if top_k:
        order = order[:top_k]
    total, chosen = 0.0, []
    within = sum(probability[i].item() for i in order)
    for i in order:
        if total >= top_p * within:
            break
        chosen.append(i)
        total += probability[i].item()
    mask = torch.zeros(len(logits), dtype=torch.float64)
    mask[chosen] = 1
    return probability * mask / (probability * mask).sum()


@pytest.mark.parametrize("vocabulary", [1, 7, 255, 256, 257, 1000])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.3, 0, 1.0), (1.0, 5, 1.0), (0.8, 0, 0.9), (1.2, 20, 0.8)],
)
def test_frequencies_are_the_exact_probabilities(
    vocabulary: int, temperature: float, top_k: int, top_p: float
) -> None:
    n = 4_000
    logits = logits_of(vocabulary)
    tokens, logprobs = draw(
        logits.expand(n, -1), even(n), temperature=temperature, top_k=top_k, top_p=top_p
    )
    exact = kept(logits, temperature, top_k, top_p)
    counts = torch.bincount(tokens, minlength=vocabulary).double()
    # Evenly spread uniforms: each count is exact, to within the two ends of its stretch.
    assert (counts - n * exact).abs().max() <= 2
    torch.testing.assert_close(logprobs.double(), exact[tokens].log(), atol=2e-5, rtol=1e-5)


def test_independent_uniforms_pass_a_chi_square_test() -> None:
    n, logits = 60_000, logits_of(300, scale=1.0)
    generator = torch.Generator().manual_seed(1)
    uniforms = torch.rand(n, generator=generator, dtype=torch.float64)
    expected = n * logits.double().softmax(-1)
    counts = torch.zeros(300, dtype=torch.float64)
    for part in uniforms.split(20_000):
        tokens, _ = draw(logits.expand(len(part), -1), part, temperature=1.0)
        counts += torch.bincount(tokens, minlength=300)
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert abs(statistic - 299) < 4 * math.sqrt(2 * 299)


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 1e-16, 0.5, 1 - 1e-16, 1 - 2.0**-53])
@pytest.mark.parametrize("vocabulary", [3, 300, 513])
def test_impossible_tokens_are_never_drawn(uniform: float, vocabulary: int) -> None:
    logits = torch.full((1, vocabulary), float("-inf"))
    possible = [vocabulary // 3, vocabulary // 2]
    logits[0, possible] = torch.tensor([1.0, -30.0])
    tokens, logprobs = draw(logits, torch.tensor([uniform], dtype=torch.float64), temperature=1.0)
    assert int(tokens) in possible
    assert math.isfinite(float(logprobs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_extreme_logits_neither_overflow_nor_change_what_is_drawn(
    shift: float, dtype: torch.dtype
) -> None:
    logits = torch.tensor([[0.0, -1e4, 64.0, 64.0, -64.0] + [-1e5] * 500]).add(shift).to(dtype)
    tokens, logprobs = draw(logits.expand(1000, -1), even(1000), temperature=1.0)
    assert set(tokens.tolist()) == {2, 3}
    torch.testing.assert_close(logprobs, torch.full((1000,), math.log(0.5)))


def test_the_given_logits_are_left_as_they_were() -> None:
    logits = logits_of(50).expand(4, -1).contiguous()
    before = logits.clone()
    for temperature, top_k, top_p in ((1.0, 0, 1.0), (0.5, 3, 0.9), (0.0, 0, 1.0)):
        draw(logits, even(4), temperature=temperature, top_k=top_k, top_p=top_p)
    assert torch.equal(logits, before)


def test_the_likeliest_token_is_always_kept() -> None:
    logits = logits_of(40).expand(100, -1)
    for top_k, top_p in ((1, 1.0), (0, 1e-9)):
        tokens, logprobs = draw(logits, even(100), temperature=2.0, top_k=top_k, top_p=top_p)
        assert set(tokens.tolist()) == {int(logits[0].argmax())}
        torch.testing.assert_close(logprobs, torch.zeros(100))


def test_greedy_reports_the_log_probability_at_temperature_one() -> None:
    logits = logits_of(40)[None]
    tokens, logprobs = draw(logits, even(1), temperature=0.0)
    assert int(tokens) == int(logits.argmax())
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).amax(-1))
