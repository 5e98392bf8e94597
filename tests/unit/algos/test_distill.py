"""Divergences between whole distributions: by hand, at their limits, and summed over a language."""

import math

import pytest
import torch
from torch.nn.functional import kl_div

from burnish.algos.distill import Distillation
from burnish.algos.kl import exact_kl
from burnish.errors import ConfigError
from tests.unit.algos.made import Language, doubles

T = (1 / 2, 1 / 4, 1 / 4)
S = (1 / 8, 1 / 8, 3 / 4)
TEXT = Language(longest=3, stops=True)
BETAS = (0.0, 0.25, 0.5, 0.9, 1.0)
log = math.log


def divergence(beta, student, teacher, **knobs):
    return Distillation(beta=beta, **knobs).losses(student, teacher)


def logits(seed, shape=(6, 5)):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        # sum T log(T/S): 4, 2 and 1/3 times as likely
        (0.0, log(4) / 2 + log(2) / 4 + log(1 / 3) / 4),
        # sum S log(S/T)
        (1.0, log(1 / 4) / 8 + log(1 / 2) / 8 + 3 * log(3) / 4),
        # m = (10, 6, 16) / 32
        (
            0.5,
            (log(8 / 5) / 2 + log(4 / 3) / 4 + log(1 / 2) / 4) / 2
            + (log(2 / 5) / 8 + log(2 / 3) / 8 + 3 * log(3 / 2) / 4) / 2,
        ),
        # m = T/4 + 3S/4 = (7, 5, 20) / 32: the teacher's share of m, and of D, is beta
        (
            0.25,
            (log(16 / 7) / 2 + log(8 / 5) / 4 + log(2 / 5) / 4) / 4
            + 3 * (log(4 / 7) / 8 + log(4 / 5) / 8 + 3 * log(6 / 5) / 4) / 4,
        ),
    ],
)
def test_three_tokens_by_hand(beta, expected):
    found = divergence(beta, doubles([S]).log(), doubles([T]).log())
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_a_temperature_flattens_both_distributions():
    # at temperature 2 a probability p becomes sqrt(p), made to sum to one
    student, teacher = (doubles([p]).sqrt() for p in (S, T))
    student, teacher = student / student.sum(), teacher / teacher.sum()
    for beta in BETAS:
        found = divergence(beta, doubles([S]).log(), doubles([T]).log(), temperature=2.0)
        torch.testing.assert_close(found, divergence(beta, student.log(), teacher.log()))


@pytest.mark.parametrize("beta", BETAS)
def test_every_divergence_is_a_sum_of_torchs_own_kl(beta):
    student, teacher = logits(0).log_softmax(-1), logits(1).log_softmax(-1)

    def kl(one, other):
        return kl_div(other, one, reduction="none", log_target=True).sum(-1)

    mixture = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
    expected = {0.0: kl(teacher, student), 1.0: kl(student, teacher)}.get(
        beta, beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)
    )
    torch.testing.assert_close(divergence(beta, logits(0), logits(1)), expected)


def test_the_middle_over_beta_tends_to_the_ends():
    student, teacher = logits(0), logits(1)
    near = 1e-6
    forward = divergence(near, student, teacher) / near
    torch.testing.assert_close(forward, divergence(0.0, student, teacher), rtol=1e-4, atol=0)
    reverse = divergence(1 - near, student, teacher) / near
    torch.testing.assert_close(reverse, divergence(1.0, student, teacher), rtol=1e-4, atol=0)


@pytest.mark.parametrize("beta", BETAS)
def test_swapping_the_two_swaps_beta_so_a_half_is_symmetric(beta):
    student, teacher = logits(0), logits(1)
    found = divergence(1 - beta, teacher, student)
    torch.testing.assert_close(divergence(beta, student, teacher), found)
    if beta != 0.5:
        assert not torch.allclose(divergence(beta, teacher, student), found)


def test_distributions_that_share_nothing_are_log_2_apart_at_a_half():
    found = divergence(0.5, doubles([[200.0, 0.0]]), doubles([[0.0, 200.0]]))
    assert float(found) == pytest.approx(log(2))


@pytest.mark.parametrize("beta", BETAS)
def test_zero_where_the_two_are_equal_and_nowhere_else(beta):
    student = logits(0)
    shifted = student + doubles([3.0] * 6)[:, None]  # the same distribution
    equal = divergence(beta, student, shifted)
    torch.testing.assert_close(equal, torch.zeros(6).double(), atol=1e-12, rtol=0)
    moved = student.clone()
    moved[:, 2] += 0.01
    assert bool((divergence(beta, student, moved) > 1e-9).all())
    assert bool((divergence(beta, student, logits(1)) > 1e-3).all())


@pytest.mark.parametrize("beta", BETAS)
def test_gradients_are_those_of_finite_differences_and_the_teacher_may_be_constant(beta):
    student = logits(0, (3, 4)).requires_grad_()
    loss = Distillation(beta=beta, temperature=0.7).losses
    assert torch.autograd.gradcheck(lambda s: loss(s, logits(1, (3, 4))), student)


def test_the_gradient_of_the_forward_kl_is_the_gap_of_probabilities():
    student, teacher = logits(0).requires_grad_(), logits(1)
    gradient = torch.autograd.grad(divergence(0.0, student, teacher).sum(), student)[0]
    torch.testing.assert_close(gradient, student.detach().softmax(-1) - teacher.softmax(-1))


@pytest.mark.parametrize("beta", BETAS)
def test_descending_brings_the_student_to_its_teacher(beta):
    student, teacher = logits(0).requires_grad_(), logits(1)
    adam = torch.optim.Adam([student], lr=0.05)
    for _ in range(1500):
        adam.zero_grad()
        divergence(beta, student, teacher).sum().backward()
        adam.step()
    torch.testing.assert_close(student.softmax(-1), teacher.softmax(-1), atol=1e-3, rtol=0)


def test_what_is_logged_is_the_reverse_kl_and_the_students_entropy():
    # whatever beta is; H = 2/8 log 8 + 3/4 log 4/3
    student, teacher = doubles([S]).log(), doubles([T]).log()
    for beta in BETAS:
        found = Distillation(beta=beta).observed(student, teacher)[0]
        reverse = float(divergence(1.0, student, teacher))
        assert found.tolist() == pytest.approx([reverse, log(8) / 4 + 0.75 * log(4 / 3)])


def test_every_token_of_the_step_weighs_the_same():
    mask = torch.tensor([[True, True, True], [False, True, False]])
    assert Distillation().weights(mask).tolist() == [[0.25] * 3, [0.0, 0.25, 0.0]]


@pytest.mark.parametrize(
    "knobs", [{"beta": 1.1}, {"beta": math.nan}, {"on_policy": -0.1}, {"temperature": 0.0}]
)
def test_knobs_that_mean_nothing_are_refused(knobs):
    with pytest.raises(ConfigError, match=next(iter(knobs))):
        Distillation(**knobs)


def on_policy_loss(policy, teacher, loss):
    """The average over the policy's own sequences of the summed divergences, chances constant."""
    chances = TEXT.sequence_logprobs(policy).detach().exp()
    tokens = TEXT.states(loss(policy, teacher)).nan_to_num(0.0)
    return (chances * tokens.sum(1)).sum()


def sequence_kl(policy, teacher):
    """KL(policy || teacher) of whole sequences."""
    own, other = TEXT.sequence_logprobs(policy), TEXT.sequence_logprobs(teacher)
    return (own.exp() * (own - other)).sum()


def test_the_average_over_own_sequences_is_the_kl_of_whole_sequences():
    policy, teacher = TEXT.policy(1), TEXT.policy(2).detach()
    found = on_policy_loss(policy, teacher, Distillation(beta=1.0).losses)
    torch.testing.assert_close(found, sequence_kl(policy, teacher))


def test_its_gradient_is_the_whole_kls_less_the_term_of_sampling():
    # grad KL = E[sum_t grad KL_t] + E[sum_t grad log S(y_t) (KL_t+1 + ...)]; the loss has the first
    policy, teacher = TEXT.policy(1), TEXT.policy(2).detach()
    exact = torch.autograd.grad(sequence_kl(policy, teacher), policy)[0]
    loss = on_policy_loss(policy, teacher, Distillation(beta=1.0).losses)
    found = torch.autograd.grad(loss, policy)[0]
    chances = TEXT.sequence_logprobs(policy).detach().exp()
    tokens = TEXT.states(exact_kl(policy, teacher).detach()).nan_to_num(0.0)
    to_come = tokens.sum(1, keepdim=True) - tokens.cumsum(1)
    scored = torch.where(TEXT.mask, TEXT.logprobs(policy), 0.0) * to_come
    sampling = torch.autograd.grad((chances * scored.sum(1)).sum(), policy)[0]
    torch.testing.assert_close(found, exact - sampling)
    assert float(sampling.abs().max()) > 0.01  # what is left out is not nothing
    # where the last token is chosen, nothing is to come
    last = torch.tensor([len(p) == 2 for p in TEXT.prefixes])
    torch.testing.assert_close(found[last], exact[last])


def test_the_whole_kls_gradient_is_that_of_finite_differences():
    policy, teacher = TEXT.policy(1), TEXT.policy(2).detach()
    exact = torch.autograd.grad(sequence_kl(policy, teacher), policy)[0]
    step = 1e-5
    for place in ((0, 0), (0, 2), (3, 1)):
        nudge = torch.zeros_like(policy)
        nudge[place] = step
        with torch.no_grad():
            up, down = sequence_kl(policy + nudge, teacher), sequence_kl(policy - nudge, teacher)
        assert float(up - down) / (2 * step) == pytest.approx(float(exact[place]), rel=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_on_own_sequences_a_student_that_can_equal_its_teacher_does(beta):
    policy, teacher = TEXT.policy(1), TEXT.policy(2).detach()
    adam = torch.optim.Adam([policy], lr=0.05)
    for _ in range(1500):
        adam.zero_grad()
        on_policy_loss(policy, teacher, Distillation(beta=beta).losses).backward()
        adam.step()
    assert float(sequence_kl(policy, teacher).detach()) < 1e-4
