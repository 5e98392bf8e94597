"""Divergences against TRL's GKD: values and gradients in float64.

The same in both: which end beta is which, the mixture, a temperature on both sides without tau^2,
and the mean over all trained tokens.
"""

import pytest
import torch

from burnish.algos.distill import Distillation

BETAS = (0.0, 0.1, 0.5, 0.8, 1.0)
TEMPERATURES = (1.0, 0.6, 3.0)


@pytest.fixture(scope="module")
def generalized_jsd_loss():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental import gkd
    return gkd.GKDTrainer.generalized_jsd_loss


def made(seed):
    """Logits `[B, T, V]` of a student and a teacher, and a mask."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, 4, 6, 11, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 6, generator=generator) < 0.7
    return student.requires_grad_(), teacher, mask


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("beta", BETAS)
def test_losses_and_gradients_are_those_of_gkd(generalized_jsd_loss, beta, temperature):
    algorithm = Distillation(beta=beta, temperature=temperature)
    for seed in range(4):
        student, teacher, mask = made(seed)
        losses = algorithm.losses(student, teacher)
        found = (algorithm.weights(mask).double() * losses).sum()
        labels = torch.where(mask, 5, -100)
        expected = generalized_jsd_loss(
            student, teacher, labels=labels, beta=beta, temperature=temperature
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
        gradients = [torch.autograd.grad(x, student)[0] for x in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_the_other_direction_would_be_noticed(generalized_jsd_loss):
    student, teacher, _ = made(0)
    found = Distillation(beta=0.8).losses(student, teacher).detach()
    for beta, agrees in ((0.8, True), (0.2, False)):
        other = generalized_jsd_loss(student, teacher, beta=beta, reduction="none").sum(-1)
        assert torch.allclose(found, other, atol=1e-2) == agrees
