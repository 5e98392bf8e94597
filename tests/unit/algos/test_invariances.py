"""What must not change a loss: junk under the mask, padding, the order of rows, where it is split.

And what must change it as calculus says: finite differences, and no gradient without advantage.
"""

import math
from dataclasses import replace

import pytest
import torch

from burnish.algos.cispo import CISPO
from burnish.algos.dapo import DAPO
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.gspo import GSPO
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.reinforce_pp import ReinforcePP
from burnish.algos.rloo import RLOO
from tests.unit.algos.made import loss_and_gradients, made_batch, made_outputs, spoilt

ALGORITHMS = [
    REINFORCE(),
    REINFORCE(kl_coef=0.1, kl="loss_k2"),
    RLOO(kl_coef=0.1),
    ReinforcePP(kl_coef=0.1),
    ReinforcePP(group_baseline=True, entropy_coef=0.01),
    PPO(kl_coef=0.1, entropy_coef=0.01, value_coef=0.5),
    PPO(kl_coef=0.1, kl="loss_weighted_k3", whiten_rewards=True, dual_clip=3.0),
    GRPO(clip_high=0.28, kl_coef=0.04),
    GRPO(kl_coef=0.1, kl="reward_k1"),
    DrGRPO(budget=7, kl_coef=0.1, kl="loss_weighted_k3"),
    DAPO(entropy_coef=0.01),
    GSPO(clip_low=0.1, clip_high=0.1),
    CISPO(),
]


def name_of(algorithm):
    return f"{type(algorithm).__name__}-{algorithm.kl if algorithm.kl_coef else 'free'}"


each = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=name_of)
PLAIN = [
    REINFORCE(),
    RLOO(),
    ReinforcePP(),
    PPO(value_coef=0.0),
    GRPO(),
    DrGRPO(),
    DAPO(),
    GSPO(),
    CISPO(),
]


def prepared(algorithm, batch):
    return algorithm.weights(algorithm.advantages(batch))


@each
@pytest.mark.parametrize("junk", [math.nan, 1e6, -1e6, math.inf])
def test_junk_under_the_mask_reaches_neither_value_nor_gradient(algorithm, junk):
    batch = made_batch()
    new = made_outputs(batch)
    clean = loss_and_gradients(algorithm, prepared(algorithm, batch), new)
    dirty_batch = prepared(algorithm, spoilt(batch, batch.mask, junk))
    dirty_batch = spoilt(dirty_batch, batch.mask, junk)  # advantages, returns and weights too
    dirty = loss_and_gradients(algorithm, dirty_batch, spoilt(new, batch.mask, junk))
    torch.testing.assert_close(dirty, clean, rtol=0, atol=0)
    for gradient in dirty[1:]:
        assert bool((gradient[~batch.mask] == 0).all())
    sums = algorithm.loss(dirty_batch, spoilt(new, batch.mask, junk)).sums
    assert all(math.isfinite(float(value)) for value in sums.values())


@each
def test_padding_columns_change_nothing(algorithm):
    batch = made_batch()
    new = made_outputs(batch)
    wide = torch.nn.functional.pad

    def widened(source):
        names = [n for n in source.__dataclass_fields__ if n not in ("scores", "group")]
        values = {n: getattr(source, n) for n in names}
        return replace(source, **{n: wide(v, (0, 3)) for n, v in values.items() if v is not None})

    narrow = loss_and_gradients(algorithm, prepared(algorithm, batch), new)
    padded = loss_and_gradients(algorithm, prepared(algorithm, widened(batch)), widened(new))
    torch.testing.assert_close(padded[0], narrow[0], rtol=1e-12, atol=1e-14)
    for a, b in zip(padded[1:], narrow[1:], strict=True):
        torch.testing.assert_close(a[:, :4], b, rtol=1e-12, atol=1e-14)


@each
def test_the_order_of_rows_changes_nothing(algorithm):
    batch = made_batch()
    new = made_outputs(batch)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = replace(
        new,
        logprobs=new.logprobs.detach()[order].requires_grad_(),
        entropy=new.entropy.detach()[order].requires_grad_(),
        values=new.values.detach()[order].requires_grad_(),
    )
    straight = loss_and_gradients(algorithm, prepared(algorithm, batch), new)
    mixed = loss_and_gradients(algorithm, prepared(algorithm, batch.rows(order)), shuffled)
    torch.testing.assert_close(mixed[0], straight[0], rtol=1e-12, atol=1e-14)
    for a, b in zip(mixed[1:], straight[1:], strict=True):
        torch.testing.assert_close(a, b[order], rtol=1e-12, atol=1e-14)


@each
@pytest.mark.parametrize("cuts", [[1, 3], [2, 2], [1, 1, 1, 1], [3, 1]])
def test_uneven_slices_sum_to_the_whole(algorithm, cuts):
    batch = made_batch()
    new = made_outputs(batch)
    whole_batch = prepared(algorithm, batch)
    whole = loss_and_gradients(algorithm, whole_batch, new)
    sums = algorithm.loss(whole_batch, new).sums
    total, gradients, parts = 0.0, [0.0, 0.0, 0.0], dict.fromkeys(sums, 0.0)
    for rows in torch.arange(4).split(cuts):
        part = replace(new, **{n: getattr(new, n)[rows] for n in ("logprobs", "entropy", "values")})
        result = algorithm.loss(whole_batch.rows(rows), part)
        total = total + result.total.detach()
        wanted = [new.logprobs, new.entropy, new.values]
        found = torch.autograd.grad(result.total, wanted, allow_unused=True, materialize_grads=True)
        gradients = [g + f for g, f in zip(gradients, found, strict=True)]
        parts = {name: parts[name] + float(result.sums[name]) for name in parts}
    torch.testing.assert_close([total, *gradients], [whole[0], *whole[1:]])
    assert parts == pytest.approx({name: float(value) for name, value in sums.items()})


@pytest.mark.parametrize(
    "algorithm", [a for a in ALGORITHMS if not isinstance(a, CISPO)], ids=name_of
)
def test_gradients_agree_with_finite_differences(algorithm):
    batch = prepared(algorithm, made_batch())
    new = made_outputs(batch, gap=0.1)

    def total(logprobs, entropy, values):
        outputs = replace(new, logprobs=logprobs, entropy=entropy, values=values)
        return algorithm.loss(batch, outputs).total

    assert torch.autograd.gradcheck(total, (new.logprobs, new.entropy, new.values))


@pytest.mark.parametrize("algorithm", PLAIN, ids=name_of)
def test_no_advantage_no_gradient(algorithm):
    batch = prepared(algorithm, made_batch())
    batch = replace(batch, advantages=torch.zeros_like(batch.advantages))
    total, *gradients = loss_and_gradients(algorithm, batch, made_outputs(batch))
    assert float(total) == 0
    assert all(bool((g == 0).all()) for g in gradients)


@pytest.mark.parametrize("algorithm", [*PLAIN, PPO(kl_coef=0.1)], ids=name_of)
def test_inert_rows_add_exactly_nothing(algorithm):
    empty = torch.tensor([True, False, True, True])[:, None]
    batch = made_batch()
    batch = replace(batch, mask=batch.mask & empty, scores=torch.tensor([1.0, 1, 2, 3]).double())
    batch = prepared(algorithm, batch)
    rows = algorithm.inert(batch).nonzero()[:, 0]
    assert len(rows) > 0
    new = made_outputs(batch)
    part = replace(
        new,
        logprobs=new.logprobs[rows],
        entropy=new.entropy[rows],
        values=new.values[rows],
    )
    total, *gradients = loss_and_gradients(algorithm, batch.rows(rows), part)
    assert float(total) == 0
    assert all(bool((g == 0).all()) for g in gradients)


@each
def test_double_precision_is_kept_to_the_end(algorithm):
    batch = prepared(algorithm, made_batch())
    assert batch.weights.dtype == torch.float64
    assert batch.advantages.dtype == torch.float64
    assert algorithm.loss(batch, made_outputs(batch)).total.dtype == torch.float64


@pytest.mark.parametrize("algorithm", PLAIN, ids=name_of)
def test_importance_weights_multiply_the_surrogate_and_nothing_else(algorithm):
    batch = prepared(algorithm, made_batch())
    new = made_outputs(batch)
    plain = loss_and_gradients(algorithm, batch, new)
    doubled = replace(batch, importance=torch.full_like(batch.rewards, 2.0))
    torch.testing.assert_close(
        loss_and_gradients(algorithm, doubled, new)[:2], [2 * x for x in plain[:2]]
    )


@pytest.mark.parametrize("algorithm", PLAIN, ids=name_of)
def test_where_the_policy_has_not_moved_old_logprobs_or_none_are_the_same(algorithm):
    batch = prepared(algorithm, made_batch())
    new = made_outputs(batch, gap=0.0)
    alone = replace(batch, old_logprobs=None)
    torch.testing.assert_close(
        loss_and_gradients(algorithm, alone, new), loss_and_gradients(algorithm, batch, new)
    )
    assert float(algorithm.loss(batch, new).sums["clip_fraction"]) == 0


def test_cispos_gradient_is_that_of_its_logprobs_with_the_weights_held():
    batch = prepared(CISPO(clip_high=0.1), made_batch())
    new = made_outputs(batch, gap=0.3)
    ratio = (new.logprobs - batch.old_logprobs).exp().detach().clamp(max=1.1)
    expected = torch.where(batch.mask, -batch.weights * ratio * batch.advantages, 0.0)
    found = loss_and_gradients(CISPO(clip_high=0.1), batch, new)[1]
    torch.testing.assert_close(found, expected)
