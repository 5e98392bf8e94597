"""Who collects an RL stage's rollouts: the collector of its environment, or of single answers, with
what judges them."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from burnish.data.store import read_problems
from burnish.engine.agent_collector import AgentCollector
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.reward_model import RewardModel, open_reward_model
from burnish.engine.scorers import Scorer, VerifierScorer, open_scorer
from burnish.engine.text_collector import TextCollector
from burnish.engine.text_model import TextModel
from burnish.errors import TrainingError
from burnish.models.policy import context_length
from burnish.pipeline.stage import Context
from burnish.stages.judging import open_judge
from burnish.verifiers.combine import ModelReward

if TYPE_CHECKING:
    from burnish.stages.rl import RL


def open_collector(
    stage: "RL",
    ctx: Context,
    text: TextModel,
    sampler: LocalSampler,
    reward_models: list[RewardModel],
    stack: ExitStack,
) -> TextCollector | AgentCollector:
    """What plays or answers the stage's problems; reward models that it opens are added to
    `reward_models`, and processes that it starts are ended with `stack`."""
    problems = read_problems(ctx.input(stage.problems))
    if not problems:
        raise TrainingError("there are no problems to train on")
    if stage.env is not None:
        return AgentCollector(
            env=stage.env,
            chat=text,
            sampler=sampler,
            sampling=stage.draws.sampling(text.stop_ids),
            limits=stage.limits,
            context=context_length(text.model),
            problems=problems,
            problems_per_step=stage.problems_per_step,
            group_size=stage.group_size,
            seed=ctx.seed,
            shaping=stage.shaping,
            refills=stage.dynamic_sampling,
            curriculum=stage.curriculum,
        )
    gold = VerifierScorer()
    return TextCollector(
        sampler=sampler,
        problems=problems,
        prompt_ids=[text.prompt(p.prompt) for p in problems],
        decode=text.decode,
        scorer=_scorer(stage, ctx, gold, reward_models, stack),
        gold=gold,
        sampling=stage.draws.sampling(text.stop_ids),
        problems_per_step=stage.problems_per_step,
        group_size=stage.group_size,
        seed=ctx.seed,
        shaping=stage.shaping,
        refills=stage.dynamic_sampling,
        curriculum=stage.curriculum,
    )


def _scorer(
    stage: "RL", ctx: Context, gold: Scorer, opened: list[RewardModel], stack: ExitStack
) -> Scorer:
    """What judges by the reward; reward models that it opens are added to `opened`."""
    return open_scorer(
        stage.judged_by,
        gold=gold,
        group_size=stage.group_size,
        open_model=_model_opener(stage, ctx, opened),
        open_judge=lambda reward: open_judge(ctx, reward, stack),
        stack=stack,
    )


def _model_opener(
    stage: "RL", ctx: Context, opened: list[RewardModel]
) -> Callable[[ModelReward], RewardModel]:
    def open_model(reward: ModelReward) -> RewardModel:
        model = open_reward_model(
            ctx.input(reward.model),
            precision=stage.precision,
            device=ctx.device,
            micro_tokens=stage.micro_tokens,
            policy=ctx.input(stage.model),
        )
        opened.append(model)
        return model

    return open_model
