"""The supervised loss: which tokens count, and for how much."""

import math

import pytest
import torch

from burnish.algos.sft import SFTLoss
from tests.unit.algos.made import doubles

MASK = torch.tensor([[False, True, True], [True, False, False]])
LOGPROBS = doubles([[math.nan, -1.0, -2.0], [-6.0, 1e6, math.inf]])


def loss_and_gradient(reduction, logprobs=LOGPROBS, mask=MASK):
    sft = SFTLoss(reduction=reduction)
    logprobs = logprobs.clone().requires_grad_()
    weights = torch.where(mask, sft.weights(mask), math.nan)
    loss = sft.loss(logprobs, weights, mask)
    return float(loss.detach()), torch.autograd.grad(loss, logprobs)[0]


@pytest.mark.parametrize(("reduction", "loss"), [("token_mean", 3.0), ("token_sum", 4.5)])
def test_both_reductions_by_hand(reduction, loss):
    # 1 + 2 + 6 = 9 nats over 3 tokens, or over 2 rows; masked cells hold NaN, 1e6 and inf
    value, gradient = loss_and_gradient(reduction)
    assert value == pytest.approx(loss)
    share = -1 / 3 if reduction == "token_mean" else -1 / 2
    torch.testing.assert_close(gradient, torch.where(MASK, share, 0.0).double())


def test_the_loss_is_the_cross_entropy_of_the_labels():
    # against torch's own, from logits, with the labels of masked tokens ignored
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[4, 0, 3], [2, 2, 1]])
    chosen = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.where(MASK, -100).flatten()
    )
    assert loss_and_gradient("token_mean", chosen)[0] == pytest.approx(float(expected), rel=1e-7)


def test_descending_makes_the_demonstrated_token_likelier():
    logits = doubles([[0.0, 0.0, 0.0]]).requires_grad_()
    sft = SFTLoss()
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss = sft.loss(logits.log_softmax(-1)[:, 1:2], sft.weights(mask), mask)
    gradient = torch.autograd.grad(loss, logits)[0][0]
    torch.testing.assert_close(gradient, doubles([1 / 3, -2 / 3, 1 / 3]))


@pytest.mark.parametrize("reduction", ["token_mean", "token_sum"])
def test_uneven_slices_sum_to_the_whole(reduction):
    sft = SFTLoss(reduction=reduction)
    weights = sft.weights(MASK)
    parts = [sft.loss(LOGPROBS[i : i + 1], weights[i : i + 1], MASK[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(sum(parts), sft.loss(LOGPROBS, weights, MASK))


def test_rows_without_a_label_change_the_mean_of_tokens_by_nothing():
    empty = torch.zeros(1, 3, dtype=torch.bool)
    junk = doubles([[math.nan] * 3])
    more = loss_and_gradient("token_mean", torch.cat([LOGPROBS, junk]), torch.cat([MASK, empty]))
    assert more[0] == loss_and_gradient("token_mean")[0]
