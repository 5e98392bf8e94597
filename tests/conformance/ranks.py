"""One optimiser step of every training, as a whole and as what one of two processes does of it.

Run by test_data_parallel as `python -m tests.conformance.ranks FOLDER`: it forks the processes once
everything is imported; they add up their losses and gradients, and the first writes the sums
beside the whole.

A step is weighed before it is split, by the code that trains: the loop of reinforcement learning
with a learner that takes its rank's rows, and the slices of the other stages.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor

from burnish.algos.apo_down import APODown
from burnish.algos.apo_zero import APOZero
from burnish.algos.attribute_reward import attribute_losses
from burnish.algos.batch import Loss, PolicyAlgorithm
from burnish.algos.cispo import CISPO
from burnish.algos.dapo import DAPO
from burnish.algos.dpo import DPO
from burnish.algos.dpo_norm import DPONorm
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.gspo import GSPO
from burnish.algos.hinge import Hinge
from burnish.algos.ipo import IPO
from burnish.algos.kto import KTO
from burnish.algos.nca_pair import NCAPair
from burnish.algos.orpo import ORPO
from burnish.algos.outcome_reward import outcome_losses
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.reinforce_pp import ReinforcePP
from burnish.algos.rloo import RLOO
from burnish.algos.robust import Robust
from burnish.algos.sft import SFTLoss
from burnish.algos.simpo import SIMPO
from burnish.algos.sppo_hard import SPPOHard
from burnish.engine.improve import Plan, improve
from burnish.engine.likelihood import likelihood_losses
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.models.policy import Tree
from burnish.pipeline.artifact import Ref
from burnish.stages.labelled import Answer, Labelled, LabelLosses, label_slices
from burnish.stages.prefer import Prefer
from burnish.stages.preferences import Preferences, crossed
from burnish.stages.reward import TrainReward, read_at_the_end
from burnish.types import Conversation, PreferencePair
from tests.conformance.bigram import Bigram, Pairs
from tests.conformance.share import (
    WORLD,
    FixedRollout,
    Share,
    ShareLearner,
    loss_and_gradients,
    value_head,
)

Step = Callable[[Share], Tensor]
"""The loss of a share, and its gradient in all parameters, in one row."""


def policy_gradient(algorithm: PolicyAlgorithm) -> Step:
    def step(share: Share) -> Tensor:
        learner = ShareLearner(algorithm, share)
        plan = Plan(steps=1, importance_cap=1.2)
        improve(FixedRollout(), learner, algorithm, plan, seed=0, observe=lambda *_: None)
        assert learner.found is not None
        return learner.found

    return step


NOWHERE: Any = {"model": Ref("a", "b"), "passes": Passes(batch_rows=1), "optim": Optim(lr=1.0)}


def preferences() -> list[Preferences]:
    """Seven prompts; of every other one the first answer also beats a third."""
    pairs, more = Pairs.random(0, num=7), Pairs.random(1, num=7)
    words = PreferencePair(prompt=Conversation.of("a"), chosen="b", rejected="c")
    groups = []
    for i, tree in enumerate(pairs.trees()):
        answers = [*tree.branches, tuple(more.chosen[i])][: 2 + i % 2]
        others = tuple(range(1, len(answers)))
        groups.append(
            Preferences(
                (words,) * len(others), Tree.prompt(tree.stem, answers), (0,) * len(others), others
            )
        )
    return groups


def slices(of_rows: Callable[[list[int]], Iterable[Loss]], num: int, share: Share) -> list[Loss]:
    """A share's slices of a step of `num` rows."""
    if share.late:
        return list(of_rows(share.of(num)))
    every = list(of_rows(list(range(num))))
    assert len(every) == (1 if share.rank is None else num)
    return [every[i] for i in share.of(len(every))]


def direct_alignment(algorithm: Any, **knobs: Any) -> Step:
    def step(share: Share) -> Tensor:
        stage = Prefer(
            algorithm=algorithm,
            comparisons=Ref("a", "b"),
            micro_tokens=share.micro_tokens,
            **NOWHERE,
            **knobs,
        )
        model, groups = Bigram(0), preferences()
        rows = range(len(groups))
        trees = {(i, j): crossed(groups[i], groups[j]) for i in rows for j in rows}
        trees |= {(i, i): groups[i].tree for i in rows}
        scored = stage._scored(model.near(0.2, 9), trees, [list(trees)])
        reference = {(i, j): scored[f"{i}.{j}"] for i, j in trees}
        parts = slices(lambda own: stage._losses(model, groups, own, reference), len(groups), share)
        return loss_and_gradients(parts, [model], share)

    return step


def reward_model(share: Share) -> Tensor:
    model, head, groups = Bigram(0), value_head(), read_at_the_end(preferences())
    stage = TrainReward(
        center_coef=0.1, comparisons=Ref("a", "b"), micro_tokens=share.micro_tokens, **NOWHERE
    )
    parts = slices(
        lambda own: stage._losses(model, head, [groups[i] for i in own]), len(groups), share
    )
    return loss_and_gradients(parts, (model, head), share)


def labels_of(losses: LabelLosses) -> Step:
    """Outcomes, steps or ratings: answers of uneven lengths, some tokens without a label."""

    def step(share: Share) -> Tensor:
        model, head = Bigram(0), value_head()
        nan = float("nan")
        groups = [
            Labelled(
                tuple(
                    Answer(
                        prompt=Conversation.of("a"),
                        text="",
                        stem=group.tree.stem,
                        ids=ids,
                        flags=(True,) * len(ids),
                        labels=tuple((nan if t % 3 == 1 else t / 9,) for t in range(len(ids))),
                        weight=1 / len(ids),
                    )
                    for ids in group.tree.branches
                )
            )
            for group in preferences()
        ]
        parts = slices(
            lambda own: label_slices(
                model, head, [groups[i] for i in own], losses, share.micro_tokens
            ),
            len(groups),
            share,
        )
        return loss_and_gradients(parts, (model, head), share)

    return step


def demonstrations(loss: SFTLoss) -> Step:
    def step(share: Share) -> Tensor:
        model, pairs = Bigram(0), Pairs.random(0, num=7)
        trees = [
            Tree.document(p + a, [False] * len(p) + [True] * len(a))
            for p, a in zip(pairs.prompts, pairs.chosen, strict=True)
        ]
        parts = slices(
            lambda own: likelihood_losses(model, [trees[i] for i in own], loss, share.micro_tokens),
            len(trees),
            share,
        )
        return loss_and_gradients(parts, [model], share)

    return step


STEPS: Mapping[str, Step] = {
    "reinforce": policy_gradient(REINFORCE(entropy_coef=0.01)),
    "reinforce, no baseline": policy_gradient(REINFORCE(baseline=False)),
    "rloo": policy_gradient(RLOO()),
    "rloo, KL in the reward": policy_gradient(RLOO(kl_coef=0.1)),
    "reinforce_pp": policy_gradient(ReinforcePP(kl_coef=0.1)),
    "reinforce_pp, group baseline": policy_gradient(ReinforcePP(group_baseline=True, clip=0.1)),
    "ppo": policy_gradient(PPO()),
    "ppo, dual clip, entropy and KL in the reward": policy_gradient(
        PPO(dual_clip=1.5, entropy_coef=0.01, kl_coef=0.1, gamma=0.9, whiten_rewards=True)
    ),
    "ppo, raw advantages, free values": policy_gradient(
        PPO(whiten_advantages=False, value_clip=0, value_coef=0.5, clip=0.1)
    ),
    "grpo": policy_gradient(GRPO()),
    "grpo, k2": policy_gradient(GRPO(kl_coef=0.1, kl="loss_k2")),
    "grpo, k3 and entropy": policy_gradient(GRPO(kl_coef=0.1, entropy_coef=0.01)),
    "grpo, weighted k3": policy_gradient(GRPO(kl_coef=0.1, kl="loss_weighted_k3", clip_high=0.5)),
    "dr_grpo": policy_gradient(DrGRPO()),
    "dr_grpo, budget": policy_gradient(DrGRPO(budget=17, kl_coef=0.1)),
    "dapo": policy_gradient(DAPO()),
    "dapo, entropy": policy_gradient(DAPO(entropy_coef=0.01)),
    "gspo": policy_gradient(GSPO(clip_low=0.1, clip_high=0.3)),
    "cispo": policy_gradient(CISPO()),
    "cispo, k3": policy_gradient(CISPO(kl_coef=0.1, clip_high=0.05)),
    "dpo": direct_alignment(DPO()),
    "dpo, smoothed, with likelihood": direct_alignment(DPO(label_smoothing=0.1), nll_coef=0.2),
    "dpo_norm": direct_alignment(DPONorm()),
    "ipo": direct_alignment(IPO()),
    "ipo, summed": direct_alignment(IPO(per_token=False)),
    "hinge": direct_alignment(Hinge()),
    "robust": direct_alignment(Robust()),
    "apo_zero": direct_alignment(APOZero()),
    "apo_down": direct_alignment(APODown()),
    "sppo_hard": direct_alignment(SPPOHard()),
    "nca_pair": direct_alignment(NCAPair()),
    "simpo": direct_alignment(SIMPO()),
    "orpo": direct_alignment(ORPO()),
    "kto": direct_alignment(KTO()),
    "kto, uneven weights": direct_alignment(KTO(desirable=1.3, undesirable=0.6)),
    "bradley_terry": reward_model,
    "outcome_reward and process_reward": labels_of(outcome_losses),
    "attribute_reward": labels_of(attribute_losses),
    "sft, token_mean": demonstrations(SFTLoss(reduction="token_mean")),
    "sft, token_sum": demonstrations(SFTLoss(reduction="token_sum")),
}


def main(rank: int, folder: Path) -> None:
    """Each step three ways: whole, as the ranks' sum, and as the sum of what each weighed alone."""
    torch.set_default_dtype(torch.float64)  # SFT lays its log-probabilities out in the default one
    dist.init_process_group(
        "gloo",
        init_method=(folder / "rendezvous").as_uri(),
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=60),
    )
    found = {}
    for name, step in STEPS.items():
        rows = [step(Share(rank)), step(Share(rank, late=True))]
        for row in rows:
            dist.all_reduce(row, op=dist.ReduceOp.SUM)
        if rank == 0:
            found[name] = torch.stack([step(Share(None)), *rows])
    if rank == 0:
        torch.save(found, folder / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    processes.start_processes(main, args=(Path(sys.argv[1]),), nprocs=WORLD, start_method="fork")
