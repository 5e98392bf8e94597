"""Algorithms against the truth: sums over every sequence of a language of three tokens.

Weights are data, so a row weighted by its probability stands for all its draws: what the trainer
would see on average comes out exactly, and autograd of the exact objective says what it must be.
"""

from dataclasses import replace
from functools import cached_property
from itertools import product
from math import comb

import pytest
import torch

from burnish.algos.batch import PolicyOutputs
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.kl import exact_kl
from burnish.algos.kl import kl as estimate
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.rloo import RLOO
from tests.unit.algos.made import Language, doubles

TEXT = Language(longest=3, stops=True)
"""Token 0 ends a sequence: 15 sequences of 1 to 3 tokens."""
FIXED = Language(longest=2, stops=False)
"""Nine sequences of two tokens."""


def scores_of(language, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(language.sequences), generator=generator, dtype=torch.float64)


def exact_gradient(language, policy, scores):
    """Of J = sum over sequences of pi(y) R(y)."""
    return torch.autograd.grad((language.sequence_logprobs(policy).exp() * scores).sum(), policy)[0]


def ascent(algorithm, batch, language, policy, **outputs):
    """What a step downhill on the loss climbs."""
    new = PolicyOutputs(logprobs=language.logprobs(policy), **outputs)
    return -torch.autograd.grad(algorithm.loss(batch, new).total, policy)[0]


def test_the_languages_hold_every_sequence_once():
    assert len(TEXT.sequences) == 15
    assert len(FIXED.sequences) == 9
    for language in (TEXT, FIXED):
        total = language.sequence_logprobs(language.policy(0)).exp().sum()
        assert float(total.detach()) == pytest.approx(1)


def test_reinforces_average_is_the_gradient_of_the_exact_objective():
    policy, scores = TEXT.policy(1), scores_of(TEXT)
    batch = REINFORCE(baseline=False).advantages(TEXT.batch(policy, scores))
    found = ascent(REINFORCE(baseline=False), batch, TEXT, policy)
    torch.testing.assert_close(found, exact_gradient(TEXT, policy, scores))


def test_a_constant_baseline_leaves_reinforces_average_where_it_was():
    policy, scores = TEXT.policy(1), scores_of(TEXT)
    batch = REINFORCE(baseline=False).advantages(TEXT.batch(policy, scores + 100))
    found = ascent(REINFORCE(baseline=False), batch, TEXT, policy)
    torch.testing.assert_close(found, exact_gradient(TEXT, policy, scores))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_ppos_average_at_ratio_one_is_the_exact_gradient_for_any_lambda(gae_lambda):
    # With the true values GAE is an unbiased advantage at every lambda.
    policy, scores = TEXT.policy(2), scores_of(TEXT)
    values = TEXT.states(TEXT.expected_from(policy, scores))
    following = torch.nn.functional.pad(values, (0, 1))[:, 1:]
    ppo = PPO(gae_lambda=gae_lambda, whiten_advantages=False, value_coef=0.0)
    batch = ppo.advantages(TEXT.batch(policy, scores, values=values, next_values=following))
    found = ascent(ppo, batch, TEXT, policy, values=values)
    torch.testing.assert_close(found, exact_gradient(TEXT, policy, scores))


def test_ppos_returns_are_the_true_values_on_average():
    policy, scores = TEXT.policy(2), scores_of(TEXT)
    junk = torch.where(TEXT.mask, 0.3, torch.nan).double()  # any value function, with lambda 1
    ppo = PPO(gae_lambda=1.0)
    batch = ppo.advantages(TEXT.batch(policy, scores, values=junk, next_values=junk))
    chances = TEXT.sequence_logprobs(policy).detach().exp()
    first = float((chances * batch.returns[:, 0]).sum())
    assert first == pytest.approx(float((chances * scores).sum()))


def groups_of(language, policy, scores, size, ref=None):
    """All groups of `size` draws as one batch, and what each group's probability is."""
    chances = language.sequence_logprobs(policy).detach().exp()
    members = torch.tensor(list(product(range(len(chances)), repeat=size)))
    given = {} if ref is None else {"ref_logprobs": language.logprobs(ref)}
    batch = language.batch(policy, scores, **given).rows(members.flatten())
    batch = replace(batch, group=torch.arange(len(members)).repeat_interleave(size), weights=None)
    return members, chances[members].prod(1), batch


def average_over_groups(algorithm, language, policy, scores, size, one_group_a_rollout, ref=None):
    """The ascent direction, averaged over the draws of a group."""
    members, chances, batch = groups_of(language, policy, scores, size, ref)
    if one_group_a_rollout:
        parts = [
            algorithm.advantages(batch.rows(r)) for r in torch.arange(len(batch.mask)).split(size)
        ]
        advantages = torch.cat([part.advantages for part in parts])
        batch = replace(batch, advantages=advantages)
    else:
        batch = algorithm.advantages(batch)
    batch = algorithm.weights(batch)
    share = (chances * len(members)).repeat_interleave(size)
    batch = replace(batch, weights=batch.weights * share[:, None])
    logprobs = language.logprobs(policy)[members.flatten()]
    loss = algorithm.loss(batch, PolicyOutputs(logprobs=logprobs)).total
    return -torch.autograd.grad(loss, policy)[0]


@pytest.mark.parametrize("size", [2, 3])
def test_a_baseline_that_includes_the_row_itself_scales_the_gradient_by_its_share(size):
    policy, scores = FIXED.policy(3), scores_of(FIXED)
    found = average_over_groups(REINFORCE(), FIXED, policy, scores, size, True)
    expected = exact_gradient(FIXED, policy, scores) * (size - 1) / size
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [2, 4])
def test_grpos_average_on_pass_or_fail_scores_has_its_closed_form(size):
    # k of G pass with chance C(G,k) p^k (1-p)^(G-k). A passing row gets (1 - k/G) / (s + eps), a
    # failing one -(k/G) / (s + eps), s^2 = k (G-k) / (G (G-1)). A passing row's score function has
    # mean grad p / p, a failing one's -grad p / (1-p). So the average is grad p times
    #     sum_k P(k) (k/G) (1 - k/G) / (s + eps)  /  (p (1-p)),   and each token weighs 1/2.
    policy = FIXED.policy(4)
    scores = doubles([1, 0, 0, 1, 0, 0, 0, 1, 0])
    p = float((FIXED.sequence_logprobs(policy).detach().exp() * scores).sum())
    factor = 0.0
    for k in range(1, size):
        spread = (k * (size - k) / (size * (size - 1))) ** 0.5
        chance = comb(size, k) * p**k * (1 - p) ** (size - k)
        factor += chance * (k / size) * (1 - k / size) / (spread + 1e-4)
    factor /= p * (1 - p)
    found = average_over_groups(GRPO(), FIXED, policy, scores, size, False)
    torch.testing.assert_close(found, factor / 2 * exact_gradient(FIXED, policy, scores))


def test_grpos_division_by_length_climbs_the_reward_per_token():
    # The per-sequence mean makes -1/|y| A log pi of each row: the gradient of E[R / |y|].
    policy, scores = TEXT.policy(5), scores_of(TEXT)
    lengths = TEXT.mask.sum(1)
    batch = TEXT.batch(policy, scores)
    batch = replace(batch, advantages=torch.where(TEXT.mask, scores[:, None], torch.nan))
    own = GRPO().weights(batch).weights * len(scores)
    batch = replace(batch, weights=own * batch.weights)
    found = ascent(GRPO(), batch, TEXT, policy)
    torch.testing.assert_close(found, exact_gradient(TEXT, policy, scores / lengths))


def climbed(language, scores, ref, prepare, *, steps=1500, lr=0.1):
    """Ascend on the exact average of an algorithm's own step, from the reference."""
    policy = ref.detach().clone().requires_grad_()
    adam = torch.optim.Adam([policy], lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    ref_logprobs = language.logprobs(ref).detach()
    for _ in range(steps):
        batch = language.batch(policy, scores, ref_logprobs=ref_logprobs)
        algorithm, batch = prepare(batch)
        zeros = torch.zeros_like(batch.rewards)
        new = PolicyOutputs(logprobs=language.logprobs(policy), values=zeros)
        policy.grad = torch.autograd.grad(algorithm.loss(batch, new).total, policy)[0]
        adam.step()
        decay.step()
    return policy


def with_kl_in_the_reward(beta):
    ppo = PPO(kl_coef=beta, whiten_advantages=False, value_coef=0.0, gae_lambda=1.0)

    def prepare(batch):
        zeros = torch.zeros_like(batch.rewards)
        return ppo, ppo.advantages(replace(batch, values=zeros, next_values=zeros))

    return prepare


class Arms(Language):
    """One choice among four, as a language: the bandit of the closed forms."""

    @cached_property
    def sequences(self):
        return [(i,) for i in range(4)]

    @cached_property
    def mask(self):
        return torch.ones(4, 1, dtype=torch.bool)

    def logprobs(self, policy):
        return policy.log_softmax(-1).T


ARMS = Arms(longest=1, stops=False)
ARM_REF = doubles([[0.5, 0.3, 0.15, 0.05]]).log()
ARM_SCORES = doubles([0, 1, 2, 5])


def test_kl_in_ppos_reward_leads_to_the_closed_form_optimum():
    # pi* proportional to ref exp(r / beta) at beta 1
    found = climbed(ARMS, ARM_SCORES, ARM_REF, with_kl_in_the_reward(1.0)).detach()
    logprobs = found.log_softmax(-1)[0]
    chances = logprobs.exp()
    expected = doubles([0.050790, 0.082837, 0.112587, 0.753787])
    torch.testing.assert_close(chances, expected, atol=1e-6, rtol=0)
    kl = float((chances * (logprobs - ARM_REF[0])).sum())
    assert kl == pytest.approx(1.790032, abs=2e-6)
    assert float((chances * ARM_SCORES).sum()) - kl == pytest.approx(2.286913, abs=1e-6)
    # and there every draw has the same shaped reward, J* itself
    _, batch = with_kl_in_the_reward(1.0)(
        ARMS.batch(found, ARM_SCORES, ref_logprobs=ARMS.logprobs(ARM_REF))
    )
    torch.testing.assert_close(batch.rewards[:, 0], doubles([2.286913] * 4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_kl_summed_over_tokens_leads_to_the_optimum_over_whole_sequences(beta):
    ref, scores = TEXT.policy(6).detach(), scores_of(TEXT)
    found = climbed(TEXT, scores, ref, with_kl_in_the_reward(beta))
    expected = (TEXT.sequence_logprobs(ref) + scores / beta).softmax(0)
    chances = TEXT.sequence_logprobs(found).detach().exp()
    torch.testing.assert_close(chances, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [2, 3])
def test_leaving_the_row_out_of_its_baseline_is_unbiased(size):
    policy, scores = FIXED.policy(3), scores_of(FIXED)
    found = average_over_groups(RLOO(), FIXED, policy, scores, size, False)
    torch.testing.assert_close(found, exact_gradient(FIXED, policy, scores))


def test_rloo_is_unbiased_for_the_penalised_objective_too():
    policy, ref, scores = FIXED.policy(3), FIXED.policy(7).detach(), scores_of(FIXED)
    gap = FIXED.sequence_logprobs(policy) - FIXED.sequence_logprobs(ref)
    chances = FIXED.sequence_logprobs(policy).exp()
    objective = (chances * (scores - 0.3 * gap)).sum()
    expected = torch.autograd.grad(objective, policy)[0]
    found = average_over_groups(RLOO(kl_coef=0.3), FIXED, policy, scores, 2, False, ref=ref)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [2, 4])
def test_dr_grpos_average_is_the_exact_gradient_but_for_its_own_share(size):
    # The mean includes the row, and every token is divided by the budget.
    policy, scores = FIXED.policy(3), scores_of(FIXED)
    found = average_over_groups(DrGRPO(budget=5), FIXED, policy, scores, size, False)
    expected = exact_gradient(FIXED, policy, scores) * (size - 1) / size / 5
    torch.testing.assert_close(found, expected)


def loss_placed(kl):
    """REINFORCE with true advantages R - mean, and the penalty in the loss."""
    algorithm = REINFORCE(kl_coef=1.0, kl=kl)

    def prepare(batch):
        return algorithm, replace(batch, advantages=ARM_SCORES[:, None])

    return prepare


@pytest.mark.parametrize("kl", ["loss_k2", "loss_weighted_k3"])
def test_k2_and_weighted_k3_in_the_loss_lead_where_a_penalty_in_the_reward_leads(kl):
    found = climbed(ARMS, ARM_SCORES, ARM_REF, loss_placed(kl)).detach().softmax(-1)[0]
    expected = doubles([0.050790, 0.082837, 0.112587, 0.753787])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_average_to_the_exact_kl_and_k2_does_not(kind):
    policy, ref = doubles([[1.5, 0, -0.5, -1]]), doubles([[-0.5, 0.5, 0, 0.7]])
    exact = float(exact_kl(policy, ref))
    assert exact == pytest.approx(0.963886, abs=1e-6)
    logprobs, ref_logprobs = policy.log_softmax(-1), ref.log_softmax(-1)
    average = float((logprobs.exp() * estimate(kind, policy=logprobs, ref=ref_logprobs)).sum())
    assert average == pytest.approx(exact)
    second = estimate("k2", policy=logprobs, ref=ref_logprobs)
    assert float((logprobs.exp() * second).sum()) == pytest.approx(1.285314, abs=1e-6)


def test_k3_in_grpos_loss_leads_elsewhere():
    # pi = beta ref / (lambda - r), lambda making it sum to one: not ref exp(r / beta)
    grpo = GRPO(kl_coef=1.0)

    def prepare(batch):
        return grpo, replace(batch, advantages=ARM_SCORES[:, None])

    found = climbed(ARMS, ARM_SCORES, ARM_REF, prepare).detach().softmax(-1)[0]
    expected = doubles([0.098732, 0.073815, 0.048952, 0.778501])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
