"""Policy-gradient losses against TRL 1.16, in value and gradient.

TRL's `_compute_loss` is given log-probabilities in place of a model's. In half of the batches a
tool wrote every third token after the first. Where the two mean different things on purpose the
test says which, and how one becomes the other.
"""

from functools import partial

import pytest
import torch
from polgrad.testing import random_batches

from burnish import conformance
from tests.conformance.trl_bare import (
    BUDGET,
    assert_same,
    both,
    grpo_loss,
    grpo_trainer,
)

SHAPES = ((4, 8), (2, 12), (1, 1), (7, 3))
gaps = pytest.mark.parametrize("gap", [2.0, 0.3, 1e-3])


def batches(gap, num=24):
    """Ragged ones; `completion` also covers what a tool wrote, `response_mask` does not."""
    for i, batch in enumerate(random_batches(num, SHAPES, seed=11, max_gap=gap)):
        completion = batch["response_mask"]
        own = torch.ones_like(completion)
        own[:, 1::3] = i % 2 == 0
        mask = completion & own
        yield {**batch, "response_mask": mask, "completion": completion, "own": own}


def ours(algo, batch, logprobs, **knobs):
    """Burnish's loss of an optimiser step."""
    names = ("old_logprobs", "ref_logprobs", "advantages", "response_mask")
    given = {name: batch[name] for name in names}
    return conformance.policy_loss(algo, logprobs=logprobs, **given, **knobs)


WEIGHTED = {"beta": 0.04, "use_bias_correction_kl": True}
K3, WEIGHTED_K3 = ({"kl_coef": 0.04, "kl": f"loss_{kind}"} for kind in ("k3", "weighted_k3"))
SAME = {
    "grpo": ({}, "grpo", {}),
    "grpo, unequal clips": ({"epsilon_high": 0.5}, "grpo", {"clip_high": 0.5}),
    "grpo, k3": ({"beta": 0.04}, "grpo", K3),
    # TRL's default penalty is the weighted one, Burnish's the paper's
    "grpo, k3 times the ratio": (WEIGHTED, "grpo", WEIGHTED_K3),
    "dr_grpo": ({"loss_type": "dr_grpo"}, "dr_grpo", {"budget": BUDGET}),
    "dr_grpo, k3": ({"loss_type": "dr_grpo", "beta": 0.04}, "dr_grpo", {"budget": BUDGET, **K3}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, "dapo", {}),
    "dapo, k3 times the ratio": (
        {"loss_type": "dapo", "epsilon_high": 0.28, **WEIGHTED},
        "dapo",
        WEIGHTED_K3,
    ),
    # TRL's epsilon_high is the cap itself, by default .2; Burnish's cap is 1 + clip_high
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.2}, "cispo", {"clip_high": 0.2}),
    "cispo, k3": (
        {"loss_type": "cispo", "epsilon_high": 5.0, "beta": 0.04},
        "cispo",
        {"clip_high": 4.0, **K3},
    ),
    # only plain k3: TRL's weighted one takes the sequence's ratio here, Burnish's each token's
    "gspo": (
        {
            "importance_sampling_level": "sequence",
            "epsilon_low": 3e-4,
            "epsilon_high": 4e-4,
            "beta": 0.04,
        },
        "gspo",
        K3,
    ),
    # TRL has no PPO any more: its token mean of one batch (bnpo) with a bound on the ratio is it
    "ppo": ({"loss_type": "bnpo"}, "ppo", {}),
    "ppo, dual clip": ({"loss_type": "bnpo", "delta": 1.5}, "ppo", {"dual_clip": 1.5}),
    "reinforce_pp": ({"epsilon_low": 0.1, "epsilon_high": 0.1}, "reinforce_pp", {"clip": 0.1}),
}


@gaps
@pytest.mark.parametrize("case", SAME)
def test_policy_losses_are_those_of_trl(case, gap):
    attributes, algo, knobs = SAME[case]
    for batch in batches(gap):
        trl = partial(grpo_loss, grpo_trainer(**attributes))
        assert_same(*both(partial(ours, algo, **knobs), trl, batch))


def test_another_normaliser_or_cap_would_be_noticed():
    batch = next(batches(2.0))
    for attributes, algo, knobs in (
        ({"loss_type": "bnpo"}, "grpo", {}),
        ({"loss_type": "cispo", "epsilon_high": 0.2}, "cispo", {"clip_high": 0.2}),
        (WEIGHTED, "grpo", K3),
    ):
        trl = partial(grpo_loss, grpo_trainer(**attributes))
        with pytest.raises(AssertionError, match="not close"):
            assert_same(*both(partial(ours, algo, **knobs), trl, batch))


def test_rows_without_decisions_count_in_trls_mean_and_not_in_burnishs():
    for batch in batches(0.3, num=8):
        rows = len(batch["response_mask"])
        for name in ("response_mask", "completion"):
            batch[name][: rows // 2] = False
        counted = (rows - rows // 2) / rows
        found, expected = both(
            lambda batch, logprobs, counted=counted: counted * ours("grpo", batch, logprobs),
            partial(grpo_loss, grpo_trainer()),
            batch,
        )
        assert_same(found, expected)


SPLIT = {
    "grpo": ({}, {}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"budget": BUDGET}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {}),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.2}, {}),
}


@pytest.mark.parametrize("algo", SPLIT)
def test_trl_summed_over_the_micro_batches_of_a_step_is_burnishs_whole_step(algo):
    attributes, knobs = SPLIT[algo]
    for batch in random_batches(12, ((4, 8), (6, 5)), seed=3, max_gap=0.3):
        batch |= {"completion": batch["response_mask"]}
        batch |= {"own": torch.ones_like(batch["response_mask"])}

        def in_two(batch, logprobs):
            # as many rows in each, which TRL's means over rows need; never as many tokens
            trainer = grpo_trainer(**attributes, steps_per_generation=2)
            tokens = batch["response_mask"].sum()
            half = len(logprobs) // 2
            return sum(
                grpo_loss(
                    trainer,
                    {name: tensor[part] for name, tensor in batch.items()},
                    logprobs[part],
                    num_items_in_batch=tokens,
                )
                for part in (slice(0, half), slice(half, None))
            )

        assert_same(*both(partial(ours, algo, **knobs), in_two, batch))
