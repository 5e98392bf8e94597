"""What an RL stage trains, and what it is held to: the policy, its values, its reference."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from burnish.algos.batch import PolicyAlgorithm
from burnish.algos.ppo import PPO
from burnish.config import require, require_counts
from burnish.engine.critic import Critic
from burnish.engine.improve import Observe
from burnish.engine.local_learner import LocalLearner
from burnish.engine.optim import Optim
from burnish.engine.protocols import Metrics, Rollout
from burnish.engine.readings import Ending
from burnish.engine.reward_model import read_reward_config
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Trainer
from burnish.errors import ConfigError
from burnish.models.load import open_causal_lm, open_head
from burnish.models.policy import head_weight
from burnish.pipeline.artifact import RewardModelRef
from burnish.pipeline.stage import Context
from burnish.text.vocabulary import require_same_vocabulary

if TYPE_CHECKING:
    from burnish.stages.rl import RL


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value function with weights and an optimiser of its own, which starts as a reward model.

    So have InstructGPT, Llama 2 and Tulu 3 (burnish.engine.critic). It begins on the scale of the
    reward model's normalised scores, and costs as much as the policy to train and to keep.
    """

    model: RewardModelRef
    """One of `train_reward`: no ensemble, and none of steps or attributes."""
    optim: Optim


@dataclass(frozen=True, kw_only=True)
class RenewReference:
    """The reference follows the policy, so that a long training may go further than a penalty to
    the start would let it: DeepSeek-R1-Zero's is the latest policy every 400 steps (2501.12948v2).

    rl/kl is then the distance from the last reference, not from the start.
    """

    every: int
    """Rollouts between renewals."""
    share: float = 1.0
    """How far it goes to the policy; 1: it becomes the policy. TRL's sync_ref_model has 0.6."""

    def __post_init__(self) -> None:
        require_counts(self, "every")
        require(0 < self.share <= 1, "share must be above 0 and at most 1")

    def observing(self, observe: Observe, learner: LocalLearner) -> Observe:
        """The same observer of training, after a renewal where one is due: so that a checkpoint
        knows of it."""

        def both(
            step: int, rollout: Rollout, updates: list[Metrics], following: PolicyAlgorithm
        ) -> None:
            if (step + 1) % self.every == 0:
                learner.renew_reference(self.share)
            observe(step, rollout, updates, following)

        return both


def check_extras(stage: "RL") -> None:
    """Raises: ConfigError, where a setting has nothing that it could act on."""
    require(0 <= stage.ema < 1, "ema must be at least 0 and below 1")
    require(
        stage.value is None or isinstance(stage.algorithm, PPO),
        f"value is PPO's: {type(stage.algorithm).__name__} learns no values",
    )
    require(
        not stage.whiten_scores or stage.env is None,
        "whiten_scores is for completions without an env, whose rewards come on the way",
    )
    if stage.renew_reference is not None:
        require(
            "ref_logprobs" in stage.algorithm.needs() or stage.kl_audit_rows > 0,
            "renew_reference: nothing reads a reference: algorithm.kl_coef and kl_audit_rows are 0",
        )
        require(
            stage.lora is None,
            "renew_reference is for training without lora, whose reference is the start itself",
        )


def open_learner(stage: "RL", ctx: Context, text: TextModel) -> LocalLearner:
    """The policy under training, with all that its losses read."""
    num_updates = stage.steps * stage.epochs * stage.minibatches
    critic = None
    if stage.value is not None:
        critic = _critic(stage, stage.value, ctx, num_updates)
    shared = "values" in stage.algorithm.needs() and critic is None
    trainer = Trainer(
        text.model,
        stage.optim,
        num_steps=num_updates,
        head=_value_head(text.model) if shared else None,
        ema=stage.ema,
    )
    reference, reference_mode = _reference(stage, ctx, text)
    beside = None if stage.beside is None else stage.beside.open(ctx, text, stage.micro_tokens)
    return LocalLearner(
        trainer,
        temperature=stage.draws.temperature,
        micro_tokens=stage.micro_tokens,
        reference=reference,
        reference_mode=reference_mode,
        kl_audit_rows=stage.kl_audit_rows,
        support=stage.draws.support,
        critic=critic,
        beside=beside,
    )


def _critic(stage: "RL", value: Value, ctx: Context, num_updates: int) -> Critic:
    """The reward model, whose head gives normalised scores.

    Raises:
        ConfigError: it reads its head otherwise than once, at the end of an answer.
    """
    path = ctx.input(value.model)
    config = read_reward_config(path)
    if not isinstance(config.reading, Ending):
        raise ConfigError(
            f"value.model={value.model}: a value function starts from a reward model of "
            "train_reward, which reads one score at the end of an answer"
        )
    require_same_vocabulary(ctx.input(stage.model), path)
    head = open_head(path).to(ctx.device)
    with torch.no_grad():
        head.weight.div_(config.scale.std)
        head.bias.sub_(config.scale.mean).div_(config.scale.std)
    model = open_causal_lm(path, stage.precision, ctx.device)
    return Critic(model, head, value.optim, num_steps=num_updates)


def _reference(
    stage: "RL", ctx: Context, text: TextModel
) -> tuple[nn.Module | None, Callable[[], AbstractContextManager[None]]]:
    """The adapter switched off, or a frozen copy of the start."""
    if "ref_logprobs" not in stage.algorithm.needs() and not stage.kl_audit_rows:
        return None, nullcontext
    if text.lora:
        return text.model, text.model.disable_adapter  # type: ignore[return-value]
    frozen = open_causal_lm(ctx.input(stage.model), stage.precision, ctx.device)
    return frozen.requires_grad_(False), nullcontext


def _value_head(model: nn.Module) -> nn.Linear:
    """Starts at zero: before it has learnt anything it must not bias an advantage."""
    head = nn.Linear(int(model.config.hidden_size), 1)  # type: ignore[union-attr,arg-type]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head.to(head_weight(model).device)
