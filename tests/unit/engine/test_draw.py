"""Draws follow the distribution they claim, and report its log-probabilities."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from burnish.engine import draw as drawing
from burnish.engine.draw import draw
from burnish.models import support
from tests.unit.kernels.plain import assert_threads_do_not_matter, same_bits

FILTERS = list(itertools.product([0, 5], [1.0, 0.9, 0.3], [0.0, 0.1]))
"""top_k, top_p and min_p."""


def logits_of(vocabulary: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed))


def even(n: int) -> Tensor:
    """Uniforms without chance: the middle of n equal parts."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def kept(
    logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:
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
    chosen = [i for i in chosen if probability[i] >= min_p * probability[order[0]]]
    mask = torch.zeros(len(logits), dtype=torch.float64)
    mask[chosen] = 1
    return probability * mask / (probability * mask).sum()


def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices do, here."""
    for module in (drawing, support):
        monkeypatch.setattr(module, "supports", lambda _: False)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("vocabulary", [1, 7, 255, 256, 257, 1000])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_frequencies_are_the_exact_probabilities(
    vocabulary: int, temperature: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        by_torch(monkeypatch)
    n = 2_000
    logits = logits_of(vocabulary)
    for top_k, top_p, min_p in FILTERS:
        tokens, logprobs = draw(
            logits.expand(n, -1), even(n),
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        )  # fmt: skip
        exact = kept(logits, temperature, top_k, top_p, min_p)
        counts = torch.bincount(tokens, minlength=vocabulary).double()
        # Evenly spread uniforms: each count is exact, to within the two ends of its stretch.
        assert (counts - n * exact).abs().max() <= 2
        assert not counts[exact == 0].any()
        torch.testing.assert_close(logprobs.double(), exact[tokens].log(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
def test_a_row_is_drawn_alike_alone_and_among_others_by_any_number_of_threads(
    temperature: float, dtype: torch.dtype
) -> None:
    logits = torch.stack([logits_of(517, seed) for seed in range(13)]).to(dtype)
    for top_k, top_p, min_p in FILTERS:
        how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        whole = draw(logits, even(13), **how)  # type: ignore[arg-type]
        for i in (0, 5, 12):
            row = slice(i, i + 1)
            alone = draw(logits[row], even(13)[row], **how)  # type: ignore[arg-type]
            assert all(same_bits(a, b[row]) for a, b in zip(alone, whole, strict=True))
    assert_threads_do_not_matter(lambda: draw(logits, even(13), **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
def test_the_compiled_form_and_torchs_agree(
    temperature: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.stack([logits_of(700, seed) for seed in range(500)]).to(dtype)
    for top_k, top_p, min_p in FILTERS:
        how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        with monkeypatch.context() as patch:
            by_torch(patch)
            tokens, logprobs = draw(logits, even(500), **how)  # type: ignore[arg-type]
        narrow = logits if dtype == torch.bfloat16 else logits.float()
        found, own = draw(narrow, even(500), **how)  # type: ignore[arg-type]
        # A uniform may lie within rounding of where one token ends and the next begins.
        same = found == tokens
        assert int((~same).sum()) <= 1
        torch.testing.assert_close(own[same], logprobs[same], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_equal_logits_are_drawn_equally_and_the_first_of_equals_is_kept(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        by_torch(monkeypatch)
    n, logits = 3_000, torch.full((1, 300), -7.0)
    for top_k, top_p, size in [(0, 1.0, 300), (5, 1.0, 300), (0, 0.0999, 30), (5, 0.5, 150)]:
        tokens, logprobs = draw(
            logits.expand(n, -1), even(n), temperature=0.6, top_k=top_k, top_p=top_p, min_p=0.99
        )
        # Top-k keeps all that equal the k-th; top-p has to choose among equals.
        assert sorted(set(tokens.tolist())) == list(range(size))
        torch.testing.assert_close(logprobs, torch.full((n,), -math.log(size)))
    tokens, _ = draw(logits, even(1), temperature=0.0)
    assert int(tokens) == 0


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logits_that_are_not_finite_show_in_the_log_probability(
    temperature: float, bad: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        by_torch(monkeypatch)
    for place, (top_k, top_p, min_p) in itertools.product((0, 100, 299), FILTERS):
        logits = logits_of(300).expand(3, -1).clone()
        logits[1, place] = bad
        tokens, logprobs = draw(
            logits, even(3), temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        assert logprobs.isfinite().tolist() == [True, False, True]
        assert bool((tokens >= 0).all() and (tokens < 300).all())


def test_no_rows_draw_nothing() -> None:
    tokens, logprobs = draw(torch.zeros(0, 9), even(1)[:0], temperature=1.0, top_p=0.5)
    assert tokens.shape == logprobs.shape == (0,)


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
@pytest.mark.parametrize("compiled", [True, False])
def test_impossible_tokens_are_never_drawn(
    uniform: float, vocabulary: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        by_torch(monkeypatch)
    logits = torch.full((1, vocabulary), float("-inf"))
    possible = [vocabulary // 3, vocabulary // 2]
    logits[0, possible] = torch.tensor([1.0, -30.0])
    at = torch.tensor([uniform], dtype=torch.float64)
    for temperature, (top_k, top_p, min_p) in itertools.product((0.0, 0.1, 1.0, 1e3), FILTERS):
        tokens, logprobs = draw(
            logits, at, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        assert int(tokens) in possible
        assert -35 < float(logprobs) <= 0


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
