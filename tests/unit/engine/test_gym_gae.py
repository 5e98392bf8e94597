"""GAE as classical control needs it, by the PPO class that trains language models."""

import pytest
import torch

from burnish.algos.advantages import gae
from burnish.algos.batch import PolicyOutputs, RolloutBatch
from burnish.algos.ppo import PPO

GAMMA, LAMBDA = 0.9, 0.8


def flags(*where, size=3):
    out = torch.zeros(1, size, dtype=torch.bool)
    out[0, list(where)] = True
    return out


def three_steps(terminated, truncated):
    return gae(
        rewards=torch.tensor([[1.0, 2.0, 3.0]]),
        values=torch.tensor([[10.0, 20.0, 30.0]]),
        next_values=torch.tensor([[20.0, 40.0, 50.0]]),  # 40: the state that the cut left behind
        terminated=terminated,
        truncated=truncated,
        mask=torch.ones(1, 3, dtype=torch.bool),
        gamma=GAMMA,
        gae_lambda=LAMBDA,
    )


def test_a_truncated_step_bootstraps_from_the_state_it_left_by_hand():
    advantages, returns = three_steps(flags(), flags(1))
    # d2 = 3 + .9*50 - 30 = 18;  d1 = 2 + .9*40 - 20 = 18;  d0 = 1 + .9*20 - 10 = 9
    # the cut at 1 passes nothing back from 2:  A1 = 18,  A0 = 9 + .72*18 = 21.96
    torch.testing.assert_close(advantages, torch.tensor([[21.96, 18.0, 18.0]]))
    torch.testing.assert_close(returns, torch.tensor([[31.96, 38.0, 48.0]]))


def test_a_terminated_step_does_not_bootstrap_by_hand():
    advantages, _ = three_steps(flags(1), flags())
    # d1 = 2 - 20 = -18;  A0 = 9 - .72*18 = -3.96
    torch.testing.assert_close(advantages, torch.tensor([[-3.96, -18.0, 18.0]]))


def test_a_step_both_terminated_and_truncated_does_not_bootstrap():
    both, _ = three_steps(flags(1), flags(1))
    torch.testing.assert_close(both, three_steps(flags(1), flags())[0])


def random_batch(seed, gaps):
    generator = torch.Generator().manual_seed(seed)
    shape = (4, 12)
    draw = {"generator": generator, "dtype": torch.float64}
    mask = torch.rand(shape, **draw) > (0.3 if gaps else -1.0)
    values = torch.randn(shape, **draw)
    next_values = torch.randn(shape, **draw)
    ended = torch.rand(shape, **draw)
    return {
        "rewards": torch.randn(shape, **draw),
        "values": values,
        "next_values": next_values,
        "terminated": (ended < 0.15) & mask,
        "truncated": (ended > 0.85) & mask,
        "mask": mask,
    }


def by_definition(batch, row, t, gamma, lam):
    """sum_k (gamma lambda)^k delta_{t+k} over the row's decisions up to the episode's end."""
    decisions = [u for u in range(batch["mask"].shape[1]) if batch["mask"][row, u] and u >= t]
    total, weight = 0.0, 1.0
    for u in decisions:
        alive = 0.0 if batch["terminated"][row, u] else 1.0
        following = gamma * alive * batch["next_values"][row, u]
        total += weight * float(batch["rewards"][row, u] + following - batch["values"][row, u])
        if batch["terminated"][row, u] or batch["truncated"][row, u]:
            break
        weight *= gamma * lam
    return total


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.8), (1.0, 1.0), (0.99, 0.0)])
def test_gae_equals_its_definition_as_a_double_sum(gaps, gamma, lam):
    batch = random_batch(3, gaps)
    advantages, returns = gae(**batch, gamma=gamma, gae_lambda=lam)
    for row in range(4):
        for t in range(12):
            decided = bool(batch["mask"][row, t])
            expected = by_definition(batch, row, t, gamma, lam) if decided else 0.0
            assert float(advantages[row, t]) == pytest.approx(expected, abs=1e-10)
            value = float(batch["values"][row, t]) if decided else 0.0
            assert float(returns[row, t]) == pytest.approx(expected + value, abs=1e-10)


def rollout(row):
    decided = row["mask"]
    return RolloutBatch(
        **row,
        scores=row["rewards"].sum(1),
        group=torch.zeros(len(decided), dtype=torch.int64),
        sampler_logprobs=torch.zeros_like(row["rewards"]),
        old_logprobs=torch.zeros_like(row["rewards"]),
    )


def test_ppo_gives_a_row_with_gaps_the_advantages_of_the_row_without_them():
    gapped = {k: v[:1] for k, v in random_batch(7, gaps=True).items()}
    kept = gapped["mask"][0]
    compact = {k: v[:, kept] for k, v in gapped.items()}
    ppo = PPO(gamma=GAMMA, gae_lambda=LAMBDA)
    wide = ppo.advantages(rollout(gapped))
    narrow = ppo.advantages(rollout(compact))
    torch.testing.assert_close(wide.advantages[:, kept], narrow.advantages)
    torch.testing.assert_close(wide.returns[:, kept], narrow.returns)


def test_ppos_loss_is_the_same_for_rows_and_for_single_decisions():
    ppo = PPO(gamma=GAMMA, entropy_coef=0.01)
    batch = ppo.advantages(rollout(random_batch(9, gaps=True)))
    new = torch.randn(3, *batch.mask.shape, dtype=torch.float64) / 10
    rows = ppo.loss(
        ppo.weights(batch), PolicyOutputs(logprobs=new[0], entropy=new[1], values=new[2])
    )
    flat = new.reshape(3, -1, 1)
    single = PolicyOutputs(logprobs=flat[0], entropy=flat[1], values=flat[2])
    decisions = ppo.loss(ppo.weights(batch.decisions()), single)
    torch.testing.assert_close(decisions.total, rows.total)
