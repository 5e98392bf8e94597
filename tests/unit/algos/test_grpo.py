"""GRPO: advantages within a group, the KL in its loss, and the sign of both."""

import math

import pytest
import torch

from burnish.algos.batch import PolicyOutputs
from burnish.algos.grpo import GRPO
from burnish.errors import ConfigError
from tests.unit.algos.made import doubles, loss_and_gradients, made_batch

NAN = math.nan


def advantages(scores, group=None, **knobs):
    batch = made_batch((1,) * len(scores), scores=doubles(scores))
    if group is not None:
        batch = made_batch((1,) * len(scores), scores=doubles(scores), group=torch.tensor(group))
    return GRPO(**knobs).advantages(batch).advantages[:, 0]


def test_the_published_group_by_hand():
    # mean 1/2, Bessel's deviation sqrt(1/3) = .577350;  .5 / (.577350 + 1e-4) = .865875
    found = advantages([1, 0, 0, 1], [0, 0, 0, 0])
    torch.testing.assert_close(found, doubles([1, -1, -1, 1]) * 0.865875, atol=5e-7, rtol=0)


def test_equal_scores_give_exactly_nothing_also_where_their_mean_is_rounded():
    scores = torch.full((7,), 0.1)
    batch = made_batch((1,) * 7, scores=scores, group=torch.zeros(7, dtype=torch.int64))
    batch = GRPO().advantages(batch)
    assert bool((batch.advantages == 0).all())
    assert bool(GRPO().inert(batch).all())
    assert not bool(GRPO(kl_coef=0.1).inert(batch).any())


@pytest.mark.parametrize("junk", [NAN, math.inf, -math.inf])
def test_a_score_that_is_no_number_gets_nothing_and_has_no_say(junk):
    found = advantages([1, junk, 0, 0, 1, junk], [0] * 6)
    kept = advantages([1, 0, 0, 1], [0] * 4)
    assert found[[0, 2, 3, 4]].tolist() == kept.tolist()
    assert found[[1, 5]].tolist() == [0, 0]


def test_a_row_alone_in_its_group_has_nothing_to_be_compared_with():
    assert advantages([1, NAN, 5], [0, 0, 1]).tolist() == [0, 0, 0]


def test_groups_do_not_see_each_other_nor_the_order_of_rows():
    both = advantages([1, 0, 7, 9], [0, 0, 1, 1])
    mixed = advantages([9, 0, 7, 1], [1, 0, 1, 0])
    assert mixed.tolist() == both[[3, 1, 2, 0]].tolist()
    assert both[2:].tolist() == advantages([7, 9], [0, 0]).tolist()


def test_shifting_and_scaling_the_scores_leaves_the_advantages_but_for_eps():
    base = advantages([1, 0, 3, 1], [0] * 4, std_eps=1e-12)
    moved = advantages([25, 20, 35, 25], [0] * 4, std_eps=1e-12)
    torch.testing.assert_close(moved, base)


def test_the_loss_with_its_kl_by_hand():
    # Row of 2 and row of 1; ratio 1 everywhere, A = +a and -a with a = .5/(sqrt(.5) + 1e-4).
    # surrogate -1/2 (a) - 1/2 (-a) = 0;  k3 at log pi -1, ref -.8: .021403 on one of the first
    # row's two tokens: kl = 1/2 * 1/2 * .021403;  loss = .04 * .0053507 = .00021403
    algorithm = GRPO(kl_coef=0.04)
    old = doubles([[-1.0, -1.0], [-1.0, NAN]])
    batch = made_batch(
        (2, 1),
        scores=doubles([1, 0]),
        old_logprobs=old,
        ref_logprobs=doubles([[-0.8, -1.0], [-1.0, NAN]]),
    )
    batch = algorithm.weights(algorithm.advantages(batch))
    total, _ = loss_and_gradients(
        algorithm, batch, PolicyOutputs(logprobs=old.clone().requires_grad_())
    )
    assert float(total) == pytest.approx(0.04 * 0.25 * (math.exp(0.2) - 1.2), abs=1e-12)


def test_the_range_of_the_ratio_is_wider_upwards_where_clip_high_says_so():
    # both rows at ratio 1.25, A = +-.707: .28 leaves the first its gradient, .2 takes it
    for clip_high, moves in ((0.28, True), (0.2, False)):
        algorithm = GRPO(clip_low=0.1, clip_high=clip_high)
        batch = algorithm.weights(algorithm.advantages(made_batch((1, 1), scores=doubles([1, 0]))))
        new = (batch.old_logprobs + math.log(1.25)).requires_grad_()
        _, gradient = loss_and_gradients(algorithm, batch, PolicyOutputs(logprobs=new))
        assert (gradient[0, 0] != 0) == moves
        new = (batch.old_logprobs + math.log(0.85)).requires_grad_()
        _, gradient = loss_and_gradients(algorithm, batch, PolicyOutputs(logprobs=new))
        assert gradient[1, 0] == 0  # below 1 - clip_low, and A < 0


def test_each_completion_weighs_the_same_however_long():
    algorithm = GRPO()
    batch = algorithm.weights(algorithm.advantages(made_batch((4, 1), scores=doubles([1, 0]))))
    new = PolicyOutputs(logprobs=batch.old_logprobs.clone().requires_grad_())
    _, gradient = loss_and_gradients(algorithm, batch, new)
    a = 0.5 / (math.sqrt(0.5) + 1e-4)
    torch.testing.assert_close(gradient[0], doubles([-a / 8] * 4))
    torch.testing.assert_close(gradient[1], doubles([a / 2, 0, 0, 0]))


def test_the_better_action_becomes_likelier_and_the_kl_pulls_back():
    logits = doubles([1.0, 0.0]).requires_grad_()
    ref = doubles([0.0, 0.0]).log_softmax(0)[:, None]
    logprobs = logits.log_softmax(0)[:, None]
    batch = made_batch(
        (1, 1), scores=doubles([1, 0]), ref_logprobs=ref, old_logprobs=logprobs.detach()
    )
    batch = GRPO().weights(GRPO().advantages(batch))
    new = PolicyOutputs(logprobs=logprobs)
    free = torch.autograd.grad(GRPO().loss(batch, new).total, logits, retain_graph=True)[0]
    assert free[0] < 0 < free[1]
    held = torch.autograd.grad(GRPO(kl_coef=9.0).loss(batch, new).total, logits)[0]
    assert held[0] > free[0]


def test_a_clip_from_one_on_lets_the_ratio_fall_to_anything():
    # R1's range is 1 - 10 to 1 + 10: a ratio is above 0 always, so only 11 is a bound
    algorithm, old = GRPO(clip_low=10.0, clip_high=10.0), doubles([[-1.0], [-1.0], [-1.0]])
    ratios = doubles([[1e-6], [10.9], [11.1]])
    for sign, moves in ((1.0, [True, True, False]), (-1.0, [True, True, True])):
        batch = made_batch((1, 1, 1), old_logprobs=old, advantages=doubles([[sign]] * 3))
        new = PolicyOutputs(logprobs=(old + ratios.log()).requires_grad_())
        gradient = loss_and_gradients(algorithm, algorithm.weights(batch), new)[1]
        assert (gradient[:, 0] != 0).tolist() == moves


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("clip_low", 0),
        ("clip_low", math.inf),
        ("clip_high", 0),
        ("kl_coef", -1),
        ("kl_coef", NAN),
        ("std_eps", 0),
    ],
)
def test_knobs_out_of_range_are_refused_by_name(knob, value):
    with pytest.raises(ConfigError, match=knob):
        GRPO(**{knob: value})
