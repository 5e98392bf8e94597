"""The moving average of weights: by hand, in bfloat16, through a checkpoint, and as the result."""

import copy

import pytest
import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.engine.optim import Optim
from burnish.engine.trainer import Trainer
from tests.unit.engine.test_optim import loss_of, network

OPTIM = Optim(lr=0.01)


def step(trainer: Trainer, model: nn.Module, number: int) -> None:
    trainer.step([Loss(loss_of(model, number))])


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().float().flatten() for p in model.parameters()])


@pytest.mark.parametrize("decay", [0.5, 0.992])
def test_it_is_the_weights_of_all_steps_each_weighing_less_the_older_it_is(decay: float) -> None:
    model = network()
    trainer = Trainer(model, OPTIM, num_steps=5, ema=decay)
    expected = flat(model)
    for number in range(5):
        step(trainer, model, number)
        expected = decay * expected + (1 - decay) * flat(model)
    last = flat(model)
    trainer.settle()
    torch.testing.assert_close(flat(model), expected)
    assert float((flat(model) - last).abs().max()) > 1e-3


def test_training_itself_does_not_know_of_it() -> None:
    one, other = network(), network()
    a, b = Trainer(one, OPTIM, num_steps=3), Trainer(other, OPTIM, num_steps=3, ema=0.9)
    for number in range(3):
        step(a, one, number)
        step(b, other, number)
    assert torch.equal(flat(one), flat(other))
    a.settle()  # without an average: nothing
    assert torch.equal(flat(one), flat(other))


def test_bfloat16_weights_have_their_masters_averaged() -> None:
    # 40 steps of 1e-4 from 1: bfloat16 near 1 moves by .0078 or not at all, its average even less
    weight = nn.Linear(1, 4, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        weight.weight.fill_(1.0)
    trainer = Trainer(weight, Optim(lr=1e-4), num_steps=40, ema=0.9)
    expected, value = 1.0, 1.0
    for _ in range(40):
        trainer.step([Loss(-weight.weight.float().sum())])
        value += 1e-4
        expected = 0.9 * expected + 0.1 * value
    found = trainer.tensors()["average.weight"]
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_it_goes_through_a_checkpoint_bit_for_bit() -> None:
    whole, first, second = network(), network(), network()
    uncut = Trainer(whole, OPTIM, num_steps=6, ema=0.8)
    before = Trainer(first, OPTIM, num_steps=6, ema=0.8)
    for number in range(6):
        step(uncut, whole, number)
    for number in range(3):
        step(before, first, number)
    after = Trainer(second, OPTIM, num_steps=6, ema=0.8)
    after.load(copy.deepcopy(before.tensors()))
    for number in range(3, 6):
        step(after, second, number)
    uncut.settle()
    after.settle()
    assert torch.equal(flat(whole), flat(second))
