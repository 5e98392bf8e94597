"""Reinforcement learning of a language model: every policy-gradient algorithm on one loop."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import ClassVar, Self

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
from burnish.engine.curriculum import Curriculum
from burnish.engine.episodes import Limits
from burnish.engine.improve import Observe, Plan, improve
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.memory import Held
from burnish.engine.optim import Optim
from burnish.engine.reward_model import RewardModel
from burnish.engine.shaping import Shaping
from burnish.engine.text_model import TextModel
from burnish.envs.foreign import ForeignEnv
from burnish.envs.guessing import GuessingGame
from burnish.envs.single_turn import SingleTurn
from burnish.envs.tool_use import ToolUse
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref, RewardModelRef
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.evaluate_env import usual_turns
from burnish.stages.judging import calibration_text
from burnish.stages.recording import recording_models
from burnish.stages.rl_beside import Beside
from burnish.stages.rl_collector import open_collector
from burnish.stages.rl_journal import Journal
from burnish.stages.rl_learner import RenewReference, Value, check_extras, open_learner
from burnish.stages.rl_watch import Watch, Watcher
from burnish.stages.sample import Draws, answers, decode_steps, sampling_held
from burnish.stages.sft import TOKENS_PER_ROW
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
    whiten_scores: bool = False
    """Scores to mean 0 and deviation 1 over each rollout, before the KL penalty (Llama 2,
    2307.09288)."""
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
    value: Value | None = None
    """A value function of its own, for PPO; none: a head on the policy, which starts at zero."""
    beside: Beside | None = None
    """Documents whose likelihood is learnt in the same optimiser steps: PPO-ptx of InstructGPT."""
    renew_reference: RenewReference | None = None
    """Whether the policy becomes the reference on the way; none: the reference is the start."""
    ema: float = 0.0
    """Decay of an average of the weights, a step of the optimiser each, which the stage gives in
    place of the last weights (InstructGPT: 0.992); 0: none. Snapshots are of the weights
    themselves."""
    kl_audit_rows: int = 0
    """Completions a step whose KL to the reference is also summed over the whole vocabulary; 0:
    off. Opens the reference even where no penalty needs it."""
    num_snapshots: int = 0
    """Weights kept on the way, evenly spaced, for the over-optimisation study."""
    watch: Watch | None = None
    """Held-out problems whose gold score is looked at on the way, with an alarm where it falls
    while the learnt reward rises."""
    max_forwards: float | None = None
    """Stop after the step with which so many forward passes of one token were taken: one to sample
    or score a token, three to train on it. None: all steps."""
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
        check_extras(self)
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
        require(
            self.watch is None or len(self.learnt) == 1,
            "watch needs a reward with one learnt model, whose score is the proxy",
        )
        require(self.max_forwards is None or self.max_forwards > 0, "max_forwards must be above 0")
        self._plan()

    def _plan(self) -> Plan:
        return Plan(
            steps=self.steps,
            epochs=self.epochs,
            minibatches=self.minibatches,
            importance_cap=self.importance_cap,
            whiten_scores=self.whiten_scores,
        )

    @property
    def judged_by(self) -> Reward:
        """The reward, whichever way it was given."""
        if self.reward_model is not None:
            return ModelReward(model=self.reward_model)
        return self.reward

    @property
    def learnt(self) -> list[ModelReward]:
        """The reward models in it."""
        return [leaf for _, leaf in leaves(self.judged_by) if isinstance(leaf, ModelReward)]

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
        judges = len(self.learnt)
        passes = own + ("ref_logprobs" in needs) + judges + 2 * audited
        grouped = self.algorithm.compares_groups and not judges
        trained = (sampled + prompts) * self.epochs * (USUAL_SIGNAL if grouped else 1.0)
        if self.value is not None:
            passes += 1
            trained *= 2
        if self.beside is not None:
            updates = self.steps * self.epochs * self.minibatches
            trained += updates * self.beside.batch_rows * TOKENS_PER_ROW
        at_once = self.problems_per_step * self.group_size
        work = Work(
            sampled_tokens=sampled,
            trained_tokens=trained,
            scored_tokens=(sampled + prompts) * passes + prompts + read,
            decode_steps=self.steps
            * turns
            * decode_steps(texts, at_once, self.draws, self.max_rows),
            optimizer_steps=self.steps * self.epochs * self.minibatches,
            opened=2 + len(self._others()) + self.num_snapshots,
        )
        work = work.within(self.max_forwards)
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
            critic=None if self.value is None else self.value.model,
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
        """Models open beside the policy: reference, value function, and those that judge."""
        judges = [reward.model for reward in self.learnt]
        kept = "ref_logprobs" in self.algorithm.needs() or bool(self.kl_audit_rows)
        values = [] if self.value is None else [self.value.model]
        return [*([self.model] if kept and self.lora is None else []), *values, *judges]

    def _texts(self, known: Known) -> Texts:
        return answers(known, self.model, self.problems, None, self.draws)

    def scaled(self, factor: float) -> Self:
        most = None if self.max_forwards is None else self.max_forwards * factor
        return replace(self, steps=max(round(self.steps * factor), 1), max_forwards=most)

    @recording_models
    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        learner = open_learner(self, ctx, text)
        with ExitStack() as stack:
            self._improve(ctx, text, learner, stack)
        learner.trainer.settle()
        text.save(ctx.output("model"))

    def _improve(
        self, ctx: Context, text: TextModel, learner: LocalLearner, stack: ExitStack
    ) -> None:
        reward_models: list[RewardModel] = []
        sampler = LocalSampler(text.model, max_rows=self.max_rows)
        collector = open_collector(self, ctx, text, sampler, reward_models, stack)
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
            max_forwards=self.max_forwards,
        )
        start = journal.restore()
        observe: Observe = journal.observe
        if self.renew_reference is not None:
            observe = self.renew_reference.observing(observe, learner)
        if self.watch is not None:
            draws = self.draws.sampling(text.stop_ids)
            watcher = Watcher(ctx, self.watch, text, sampler, reward_models[0], draws, self.steps)
            observe = watcher.observing(observe, start)
        improve(
            collector,
            learner,
            journal.algorithm,
            self._plan(),
            seed=ctx.seed,
            observe=observe,
            start=start,
            enough=journal.enough,
        )
        journal.finish()
