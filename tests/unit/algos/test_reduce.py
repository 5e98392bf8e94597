"""Normalisers: what each decision weighs in one optimiser step."""

import torch

from burnish.algos.reduce import constant, sequence_mean, token_mean
from tests.unit.algos.made import doubles

MASK = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
TERMS = doubles([[1.0, 2.0, 3.0, 9.0], [8.0, 9.0, 9.0, 9.0], [9.0] * 4])


def reduced(weights):
    return float((weights.double() * TERMS).sum())


def test_three_normalisers_of_one_batch_by_hand():
    # rows 1, 2, 3 and 8 and an empty one:
    # tokens (1+2+3+8)/4 = 3.5;  sequences (2 + 8)/2 = 5;  constant (6 + 8)/(3 rows * 10) = 14/30
    assert reduced(token_mean(MASK)) == 3.5
    assert abs(reduced(sequence_mean(MASK)) - 5) < 1e-6
    assert abs(reduced(constant(MASK, divisor=10)) - 14 / 30) < 1e-6


def test_masked_decisions_weigh_nothing_and_an_empty_step_is_not_a_division_by_zero():
    empty = torch.zeros(2, 3, dtype=torch.bool)
    for weights in (token_mean, sequence_mean):
        assert bool((weights(MASK)[~MASK] == 0).all())
        assert bool((weights(empty) == 0).all())
    assert bool((constant(MASK, divisor=4)[~MASK] == 0).all())


def test_rows_of_different_lengths_weigh_the_same_by_sequence_and_not_by_token():
    torch.testing.assert_close(sequence_mean(MASK).sum(1), torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(token_mean(MASK).sum(1), torch.tensor([0.75, 0.25, 0.0]))


def test_weights_have_the_precision_that_is_asked_for():
    mask = torch.ones(3, 1, dtype=torch.bool)
    for weights in (token_mean, sequence_mean):
        assert float(weights(mask, dtype=torch.float64)[0, 0]) == 1 / 3
    assert float(constant(mask, divisor=7, dtype=torch.float64)[0, 0]) == 1 / 21
