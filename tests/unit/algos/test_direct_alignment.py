"""Every direct-alignment loss: published numbers, sign, gradients, limits, one loss a pair."""

import math

import pytest
import torch

from burnish.algos.apo_down import APODown
from burnish.algos.apo_zero import APOZero
from burnish.algos.dpo import DPO
from burnish.algos.dpo_norm import DPONorm
from burnish.algos.hinge import Hinge
from burnish.algos.ipo import IPO
from burnish.algos.kto import KTO
from burnish.algos.nca_pair import NCAPair
from burnish.algos.orpo import ORPO
from burnish.algos.pairs import PairLogprobs
from burnish.algos.robust import Robust
from burnish.algos.rpo import RPO
from burnish.algos.simpo import SIMPO
from burnish.algos.sppo_hard import SPPOHard
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles

ALL = [
    DPO(),
    DPO(label_smoothing=0.1),
    DPONorm(),
    IPO(beta=0.5),
    IPO(beta=0.5, per_token=False),
    Hinge(),
    Robust(),
    APOZero(),
    APODown(),
    SPPOHard(beta=0.5),
    NCAPair(),
    SIMPO(),
    ORPO(),
    KTO(),
    RPO(),
]
each = pytest.mark.parametrize("algorithm", ALL, ids=lambda a: type(a).__name__)


def pairs(gain_chosen=1.0, gain_rejected=-0.5, *, policy=(-12.0, -21.0), lengths=(6, 10), **more):
    """One pair, with the log ratios given."""
    return PairLogprobs(
        policy_chosen=doubles([policy[0]]),
        policy_rejected=doubles([policy[1]]),
        ref_chosen=doubles([policy[0] - gain_chosen]),
        ref_rejected=doubles([policy[1] - gain_rejected]),
        len_chosen=torch.tensor([lengths[0]]),
        len_rejected=torch.tensor([lengths[1]]),
        **({"margin": doubles([2.0])} | more),
    )


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (DPO(), 0.620957),
        (Hinge(), 0.85),
        (IPO(beta=0.1), 22.880278),
        (DPONorm(beta=0.1), 0.682373),
        (NCAPair(), 1.350825),
        (Robust(), 0.602207),
        (SPPOHard(), 36.25),
        (APOZero(), 0.962523),
        (APODown(), 0.987549),
        # by hand: -2 against -2.1 per token
        (SIMPO(beta=2.0, gamma=0.5), math.log1p(math.exp(-(2.0 * 0.1 - 0.5)))),
        # z = mean(1, -.5) = .25: (1 - s(.1 * .75) + 1 - s(.1 * .75)) / 2
        (KTO(), 1 - 1 / (1 + math.exp(-0.075))),
        # a = .15 (1.5 * .1), b = 2: s(2) = .880797, s(.15) = .537430
        (RPO(), 0.880797 * math.log(0.880797 / 0.537430) + 0.119203 * math.log(0.119203 / 0.46257)),
        # the paper's form of IPO: (1.5 - 5)^2
        (IPO(per_token=False), 12.25),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, float) else "",
)
def test_published_and_hand_worked_values(algorithm, expected):
    assert float(algorithm.losses(pairs())) == pytest.approx(expected, abs=6e-7)


def test_orpo_by_hand():
    chosen, rejected = math.exp(-2), math.exp(-2.1)
    log_odds = math.log(chosen / (1 - chosen)) - math.log(rejected / (1 - rejected))
    expected = 2 + 0.1 * math.log1p(math.exp(-log_odds))
    assert float(ORPO().losses(pairs())) == pytest.approx(expected, rel=1e-12)


def test_orpo_stays_finite_where_the_model_is_certain_or_hopeless():
    for policy in ((-1e-9, -21.0), (0.0, -0.0), (-3000.0, -1e-7), (-6e-7, -6e-7)):
        logprobs = doubles([policy[0]]).requires_grad_()
        given = pairs(policy=policy)
        given = PairLogprobs(
            policy_chosen=logprobs,
            policy_rejected=given.policy_rejected,
            len_chosen=given.len_chosen,
            len_rejected=given.len_rejected,
        )
        loss = ORPO().losses(given)
        loss.sum().backward()
        assert bool(loss.isfinite().all()) and bool(logprobs.grad.isfinite().all())


@each
def test_a_better_chosen_answer_is_never_worse(algorithm):
    # The loss falls as the chosen answer becomes likelier (APO-down lowers it on purpose), below
    # the target of those that have one.
    given = pairs(0.3, -0.2)
    chosen = given.policy_chosen.clone().requires_grad_()
    rejected = given.policy_rejected.clone().requires_grad_()
    moved = PairLogprobs(
        policy_chosen=chosen,
        policy_rejected=rejected,
        ref_chosen=given.ref_chosen,
        ref_rejected=given.ref_rejected,
        len_chosen=given.len_chosen,
        len_rejected=given.len_rejected,
        margin=given.margin,
    )
    up, down = torch.autograd.grad(algorithm.losses(moved).sum(), [chosen, rejected])
    assert float(up) < 0 or isinstance(algorithm, APODown)
    assert float(down) > 0
    assert float(down - up) > 0


@each
def test_gradients_agree_with_finite_differences(algorithm):
    generator = torch.Generator().manual_seed(0)
    sums = [-20 + 2 * torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(4)]
    policy = [s.requires_grad_() for s in sums[:2]]

    def losses(chosen, rejected):
        return algorithm.losses(
            PairLogprobs(
                policy_chosen=chosen,
                policy_rejected=rejected,
                ref_chosen=sums[2],
                ref_rejected=sums[3],
                len_chosen=torch.tensor([5, 9, 7, 4]),
                len_rejected=torch.tensor([8, 3, 7, 11]),
                kl=doubles(0.3),
                margin=doubles([0.4, 3.0, -1.0, 0.0]),
            )
        )

    assert torch.autograd.gradcheck(losses, policy)


@each
def test_each_pair_has_its_own_loss(algorithm):
    generator = torch.Generator().manual_seed(1)
    sums = [-20 + 2 * torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(4)]
    lengths = [torch.tensor([5, 9, 7]), torch.tensor([8, 3, 7])]
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")

    def losses(rows):
        given = {n: v[rows] for n, v in zip(names, sums, strict=True)}
        given |= {"len_chosen": lengths[0][rows], "len_rejected": lengths[1][rows]}
        margin = doubles([0.4, 3.0, -1.0])[rows]
        return algorithm.losses(PairLogprobs(**given, kl=doubles(0.2), margin=margin))

    together = losses(torch.arange(3))
    assert together.shape == (3,)
    alone = torch.cat([losses(torch.tensor([i])) for i in range(3)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(losses(torch.tensor([2, 0, 1])), together[torch.tensor([2, 0, 1])])


def test_robust_averages_to_dpo_over_labels_that_flip_at_its_rate():
    right, wrong = pairs(), pairs(-0.5, 1.0)
    robust = Robust(label_smoothing=0.2)
    average = 0.8 * robust.losses(right) + 0.2 * robust.losses(wrong)
    torch.testing.assert_close(average, DPO().losses(right))


def test_losses_per_token_do_not_know_how_long_an_answer_is():
    twice = pairs(2.0, -1.0, policy=(-24.0, -42.0), lengths=(12, 20))
    for algorithm in (DPONorm(), IPO(), SIMPO(), ORPO()):
        torch.testing.assert_close(algorithm.losses(pairs()), algorithm.losses(twice))


def test_ktos_point_is_a_constant_and_never_negative():
    given = pairs(-1.0, -3.0, kl=None)
    at_zero = pairs(-1.0, -3.0, kl=doubles(0.0))
    torch.testing.assert_close(KTO().losses(given), KTO().losses(at_zero))
    below = pairs(-1.0, -3.0, kl=doubles(-5.0))
    torch.testing.assert_close(KTO().losses(below), KTO().losses(at_zero))


@each
def test_a_beta_that_means_nothing_is_refused(algorithm):
    for beta in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="beta must be above 0"):
            type(algorithm)(beta=beta)
