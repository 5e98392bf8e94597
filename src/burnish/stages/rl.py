"""Reinforcement learning of a language model: every policy-gradient algorithm on one loop."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from burnish.algos.cispo import CISPO
from burnish.algos.dapo import DAPO
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.gspo import GSPO
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.reinforce_pp import ReinforcePP
from burnish.algos.rloo import RLOO
from burnish.config import require, require_counts
from burnish.data.store import read_problems
from burnish.engine.agent_collector import AgentCollector
from burnish.engine.curriculum import Curriculum
from burnish.engine.episodes import Limits
from burnish.engine.improve import Plan, improve
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.memory import Held
from burnish.engine.optim import Optim
from burnish.engine.reward_model import RewardModel, open_reward_model
from burnish.engine.scorers import Scorer, VerifierScorer, open_scorer
from burnish.engine.shaping import Shaping
from burnish.engine.text_collector import TextCollector
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Trainer
from burnish.envs.foreign import ForeignEnv
from burnish.envs.guessing import GuessingGame
from burnish.envs.single_turn import SingleTurn
from burnish.envs.tool_use import ToolUse
from burnish.errors import TrainingError
from burnish.models.load import Precision, open_causal_lm
from burnish.models.lora import LoRA
from burnish.models.policy import context_length, head_weight
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref, RewardModelRef
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.evaluate_env import usual_turns
from burnish.stages.judging import calibration_text, open_judge
from burnish.stages.rl_journal import Journal
from burnish.stages.sample import Draws, answers, decode_steps, sampling_held
from burnish.verifiers.combine import (
    ModelReward,
    ProblemVerifier,
    Reward,
    leaves,
)
from burnish.verifiers.judge_reward import JudgeReward
from burnish.verifiers.user_function import UserFunction

USUAL_SIGNAL = 0.5
"""Share of groups whose exact rewards differ, as a guess: the others are not trained on."""


@dataclass(frozen=True, kw_only=True)
class RL:
    """Model + problems + reward -> model. The start is the reference."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model", "snapshots": "snapshots"}

    model: ModelRef
    problems: ProblemsRef
    algorithm: PPO | GRPO | RLOO | REINFORCE | ReinforcePP | DrGRPO | DAPO | GSPO | CISPO
    optim: Optim
    steps: int
    """Rollouts."""
    problems_per_step: int
    group_size: int
    """Completions a problem and step."""
    draws: Draws
    """Where top_k, top_p or min_p cut, the policy is what they leave of it: log-probabilities,
    ratios and entropies are those of the renormalised kept set. The reference keeps everything."""
    reward: Reward = ProblemVerifier()
    """What is trained on (docs/rewards.md); by default the problems' own verifiers."""
    reward_model: RewardModelRef | None = None
    """Short for `reward: {model_reward: {model: ...}}`."""
    env: SingleTurn | ToolUse | GuessingGame | ForeignEnv | None = None
    """What replies to the model's turns, and judges; none: one turn, judged as above."""
    limits: Limits = Limits()
    """Of an episode in `env`; draws.max_new_tokens is that of one turn."""
    curriculum: Curriculum | None = None
    """Takes problems level by level; none: all of them together."""
    epochs: int = 1
    """Passes over each rollout."""
    minibatches: int = 1
    """Optimiser steps a pass."""
    shaping: Shaping = Shaping()
    """What the way a completion ends adds to its score."""
    dynamic_sampling: int = 0
    """Further rounds of sampling a step to replace groups whose scores are all equal (DAPO)."""
    importance_cap: float = 0.0
    """Weigh tokens by min(learner / sampler probability, this), which corrects for the sampler's
    rounding (usual: 2); 0: off."""
    kl_audit_rows: int = 0
    """Completions a step whose KL to the reference is also summed over the whole vocabulary; 0:
    off. Opens the reference even where no penalty needs it."""
    num_snapshots: int = 0
    """Weights kept on the way, evenly spaced, for the over-optimisation study."""
    micro_tokens: int = 2048
    max_rows: int = 192
    lora: LoRA | None = None
    precision: Precision = "bfloat16"
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        require_counts(self, "problems_per_step", "group_size", "micro_tokens", "max_rows")
        require(
            self.reward_model is None or self.reward == ProblemVerifier(),
            "reward_model and reward are both given: name the model in reward, as a model_reward",
        )
        require(self.num_snapshots >= 0, "num_snapshots must be at least 0")
        require(self.kl_audit_rows >= 0, "kl_audit_rows must be at least 0")
        name = type(self.algorithm).__name__
        grouped = self.algorithm.compares_groups or self.dynamic_sampling > 0
        require(
            self.group_size >= 2 or not grouped,
            f"group_size must be at least 2: {name} compares completions of one problem",
        )
        require(self.dynamic_sampling >= 0, "dynamic_sampling must be at least 0")
        require(
            self.epochs * self.minibatches == 1 or self.algorithm.reuses_rollouts,
            f"epochs and minibatches must be 1: {name} is for completions of the policy itself",
        )
        require(
            self.env is None or self.judged_by == ProblemVerifier(),
            "reward and reward_model are for completions without an env, which judges its episodes "
            "itself",
        )
        require(self.env is not None or self.limits == Limits(), "limits are those of an env")
        require(self.draws.temperature > 0, "draws.temperature must be above 0 to explore")
        self._plan()

    def _plan(self) -> Plan:
        return Plan(
            steps=self.steps,
            epochs=self.epochs,
            minibatches=self.minibatches,
            importance_cap=self.importance_cap,
        )

    @property
    def judged_by(self) -> Reward:
        """The reward, whichever way it was given."""
        if self.reward_model is not None:
            return ModelReward(model=self.reward_model)
        return self.reward

    def fingerprint(self) -> str:
        """Of the files that the reward reads: the user's functions, and judges' calibrations."""
        found = []
        for _, leaf in leaves(self.reward):
            if isinstance(leaf, UserFunction):
                found.append(leaf.digest())
            elif isinstance(leaf, JudgeReward):
                found.append(calibration_text(leaf.calibration_file))
        return " ".join(found)

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        texts = self._texts(known)
        rows = self.steps * self.problems_per_step * self.group_size
        turns = usual_turns(self.env, self.limits)
        sampled = rows * texts.completion_tokens * turns
        prompts = self.steps * self.problems_per_step * texts.prompt_tokens
        # Turns after the first read all of their own episode.
        read = rows * (turns - 1) * (texts.prompt_tokens + sampled / (2 * rows))
        needs = self.algorithm.needs()
        own = bool(needs & {"old_logprobs", "values"}) or self.epochs * self.minibatches > 1
        audited = min(self.kl_audit_rows / (self.problems_per_step * self.group_size), 1.0)
        judges = sum(isinstance(leaf, ModelReward) for _, leaf in leaves(self.judged_by))
        passes = own + ("ref_logprobs" in needs) + judges + 2 * audited
        grouped = self.algorithm.compares_groups and not judges
        at_once = self.problems_per_step * self.group_size
        work = Work(
            sampled_tokens=sampled,
            trained_tokens=(sampled + prompts) * self.epochs * (USUAL_SIGNAL if grouped else 1.0),
            scored_tokens=(sampled + prompts) * passes + prompts + read,
            decode_steps=self.steps
            * turns
            * decode_steps(texts, at_once, self.draws, self.max_rows),
            optimizer_steps=self.steps * self.epochs * self.minibatches,
            opened=2 + len(self._others()) + self.num_snapshots,
        )
        return work, {"model": known[self.model]} if self.model in known else {}

    def held(self, known: Known) -> list[Held]:
        """While completions are drawn, and in an optimiser step."""
        texts = replace(
            self._texts(known), num_rows=self.problems_per_step, per_row=self.group_size
        )
        drawing = sampling_held(self.model, texts, self.draws, self.max_rows, self.precision)
        open_then = replace(
            drawing,
            models=(self.model, *self._others()),
            trained=self.model,
            lora_rank=None if self.lora is None else self.lora.rank,
        )
        training = replace(
            open_then,
            sampled=None,
            gradients=True,
            micro_tokens=self.micro_tokens,
            step_tokens=self.problems_per_step * texts.tree_tokens / self.minibatches,
        )
        return [open_then, training]

    def _others(self) -> list[Ref]:
        """Models that are open beside the policy: the reference, and those that judge."""
        judges = [r.model for _, r in leaves(self.judged_by) if isinstance(r, ModelReward)]
        kept = "ref_logprobs" in self.algorithm.needs() or bool(self.kl_audit_rows)
        return [*([self.model] if kept and self.lora is None else []), *judges]

    def _texts(self, known: Known) -> Texts:
        return answers(known, self.model, self.problems, None, self.draws)

    def scaled(self, factor: float) -> Self:
        return replace(self, steps=max(round(self.steps * factor), 1))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        head = _value_head(text.model) if "values" in self.algorithm.needs() else None
        num_updates = self.steps * self.epochs * self.minibatches
        trainer = Trainer(text.model, self.optim, num_steps=num_updates, head=head)
        reference, reference_mode = self._reference(ctx, text)
        learner = LocalLearner(
            trainer,
            temperature=self.draws.temperature,
            micro_tokens=self.micro_tokens,
            reference=reference,
            reference_mode=reference_mode,
            kl_audit_rows=self.kl_audit_rows,
            support=self.draws.support,
        )
        with ExitStack() as stack:
            self._improve(ctx, text, learner, stack)
        text.save(ctx.output("model"))

    def _improve(
        self, ctx: Context, text: TextModel, learner: LocalLearner, stack: ExitStack
    ) -> None:
        reward_models: list[RewardModel] = []
        sampler = LocalSampler(text.model, max_rows=self.max_rows)
        collector = self._collector(ctx, text, sampler, reward_models, stack)
        journal = Journal(
            ctx,
            text,
            learner,
            sampler,
            collector,
            reward_models,
            algorithm=self.algorithm,
            steps=self.steps,
            num_snapshots=self.num_snapshots,
            checkpoint_s=self.checkpoint_s,
        )
        start = journal.restore()
        improve(
            collector,
            learner,
            journal.algorithm,
            self._plan(),
            seed=ctx.seed,
            observe=journal.observe,
            start=start,
        )
        journal.finish()

    def _scorer(
        self, ctx: Context, gold: Scorer, opened: list[RewardModel], stack: ExitStack
    ) -> Scorer:
        """What judges by the reward; reward models that it opens are added to `opened`."""

        def open_model(reward: ModelReward) -> RewardModel:
            model = open_reward_model(
                ctx.input(reward.model),
                precision=self.precision,
                device=ctx.device,
                micro_tokens=self.micro_tokens,
                policy=ctx.input(self.model),
            )
            opened.append(model)
            return model

        return open_scorer(
            self.judged_by,
            gold=gold,
            group_size=self.group_size,
            open_model=open_model,
            open_judge=lambda reward: open_judge(ctx, reward, stack),
            stack=stack,
        )

    def _collector(
        self,
        ctx: Context,
        text: TextModel,
        sampler: LocalSampler,
        reward_models: list[RewardModel],
        stack: ExitStack,
    ) -> TextCollector | AgentCollector:
        problems = read_problems(ctx.input(self.problems))
        if not problems:
            raise TrainingError("there are no problems to train on")
        if self.env is not None:
            return AgentCollector(
                env=self.env,
                chat=text,
                sampler=sampler,
                sampling=self.draws.sampling(text.stop_ids),
                limits=self.limits,
                context=context_length(text.model),
                problems=problems,
                problems_per_step=self.problems_per_step,
                group_size=self.group_size,
                seed=ctx.seed,
                shaping=self.shaping,
                refills=self.dynamic_sampling,
                curriculum=self.curriculum,
            )
        gold = VerifierScorer()
        return TextCollector(
            sampler=sampler,
            problems=problems,
            prompt_ids=[text.prompt(p.prompt) for p in problems],
            decode=text.decode,
            scorer=self._scorer(ctx, gold, reward_models, stack),
            gold=gold,
            sampling=self.draws.sampling(text.stop_ids),
            problems_per_step=self.problems_per_step,
            group_size=self.group_size,
            seed=ctx.seed,
            shaping=self.shaping,
            refills=self.dynamic_sampling,
            curriculum=self.curriculum,
        )

    def _reference(
        self, ctx: Context, text: TextModel
    ) -> tuple[nn.Module | None, Callable[[], AbstractContextManager[None]]]:
        """The adapter switched off, or a frozen copy of the start."""
        if "ref_logprobs" not in self.algorithm.needs() and not self.kl_audit_rows:
            return None, nullcontext
        if text.lora:
            return text.model, text.model.disable_adapter  # type: ignore[return-value]
        frozen = open_causal_lm(ctx.input(self.model), self.precision, ctx.device)
        return frozen.requires_grad_(False), nullcontext


def _value_head(model: nn.Module) -> nn.Linear:
    """Starts at zero: before it has learnt anything it must not bias an advantage."""
    head = nn.Linear(int(model.config.hidden_size), 1)  # type: ignore[union-attr,arg-type]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head.to(head_weight(model).device)
