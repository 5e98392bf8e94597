"""The layout that tokens and pushes of a cart share."""

import math

import torch

from burnish.algos.batch import RolloutBatch, clean
from tests.unit.algos.made import doubles, made_batch


def test_clean_keeps_values_and_gradients_of_masked_cells_out():
    values = doubles([[1.0, math.nan], [math.inf, 1e6]]).requires_grad_()
    mask = torch.tensor([[True, False], [False, False]])
    cleaned = clean(values, mask)
    assert cleaned.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    # exp overflows on what was masked; 0 * inf in the backward pass would be NaN
    gradient = torch.autograd.grad(torch.exp(cleaned).sum(), values)[0]
    assert gradient.tolist() == [[math.e, 0.0], [0.0, 0.0]]


def test_rows_take_every_field_along_in_the_order_asked_for():
    batch = made_batch((3, 1, 2, 4))
    part = batch.rows(torch.tensor([2, 0]))
    assert part.scores.tolist() == batch.scores[[2, 0]].tolist()
    assert part.mask.sum(1).tolist() == [2, 3]
    assert part.advantages is None
    torch.testing.assert_close(part.ref_logprobs, batch.ref_logprobs[[2, 0]])


def test_decisions_keep_each_rows_score_and_group_beside_its_decisions():
    batch = made_batch((3, 1, 2, 4))
    flat = batch.decisions()
    assert flat.mask.shape == (16, 1)
    assert flat.rewards[:, 0].tolist() == batch.rewards.flatten().tolist()
    assert flat.group.tolist() == [0] * 8 + [1] * 8
    assert flat.scores[4:8].tolist() == [batch.scores[1].item()] * 4


def test_completions_carry_their_score_at_their_last_decision():
    mask = torch.tensor([[True, True, False], [True, False, True], [True, True, True]])
    scores = torch.tensor([2.0, 3.0, math.nan])
    batch = RolloutBatch.of_completions(
        mask=mask, scores=scores, group=torch.tensor([0, 0, 0]), sampler_logprobs=torch.zeros(3, 3)
    )
    assert batch.rewards.tolist() == [[0, 2, 0], [0, 0, 3], [0, 0, 0]]
    assert batch.terminated.tolist() == (batch.rewards != 0).tolist()
    assert batch.mask.tolist() == [*mask.tolist()[:2], [False] * 3]  # nobody could score the last
    assert not batch.truncated.any()
