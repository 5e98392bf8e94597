"""Language models learn from rewards and from preferences, at every seed; from nothing they do not.

The models are random Llamas of a few thousand weights. Everything else is what trains real ones:
sampler, collector, learner and loop for rewards; the stages themselves for preferences.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from burnish import rng
from burnish.algos.batch import PolicyAlgorithm
from burnish.algos.dpo import DPO
from burnish.algos.grpo import GRPO
from burnish.algos.ppo import PPO
from burnish.algos.rloo import RLOO
from burnish.data.store import write_comparisons
from burnish.engine.ablation import ZeroAdvantages
from burnish.engine.improve import Plan, improve
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Sampling
from burnish.engine.reward_model import open_reward_model
from burnish.engine.supervised import Passes
from burnish.engine.text_collector import TextCollector
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Trainer
from burnish.models.load import open_causal_lm
from burnish.models.policy import Forest, Tree, score_trees
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.prefer import Prefer
from burnish.stages.reward import TrainReward
from burnish.types import Comparison, Conversation, Problem, Verdict
from tests.tiny import tiny_llama, tiny_tokenizer

END, LETTERS, LENGTH = 0, 8, 4
SEEDS = (0, 1, 2)


class Echo:
    """Scores the share of four places that repeat the prompt's first token."""

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        return [
            Verdict(score=sum(t == prompt[0] for t in answer) / LENGTH)
            for prompt, answer in zip(prompt_ids, tokens, strict=True)
        ]


def random_llama(path, seed):
    """A model directory, opened as any other is."""
    config = LlamaConfig(
        vocab_size=LETTERS + 1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
    )
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(path)
    return open_causal_lm(path, "float32")


def zero_head(size: int) -> nn.Linear:
    head = nn.Linear(size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def scores_while_training(path, algorithm: PolicyAlgorithm, plan: Plan, seed: int) -> list[float]:
    """The mean score of each rollout."""
    model = random_llama(path, seed)
    updates = plan.steps * plan.epochs * plan.minibatches
    head = zero_head(32) if "values" in algorithm.needs() else None
    trainer = Trainer(model, Optim(lr=3e-3), num_steps=updates, head=head)
    prompts = [(i, j) for i, j in itertools.product(range(1, LETTERS + 1), repeat=2)]
    collector = TextCollector(
        sampler=LocalSampler(model, max_rows=128),
        problems=[Problem(prompt=Conversation.of(f"{p}"), task="echo") for p in prompts],
        prompt_ids=prompts,
        decode=str,
        scorer=Echo(),
        gold=Echo(),
        sampling=Sampling(max_new_tokens=LENGTH, stop_ids=frozenset({END})),
        problems_per_step=16,
        group_size=8,
        seed=seed,
    )
    scores = []
    improve(
        collector,
        LocalLearner(trainer, temperature=1.0, micro_tokens=512),
        algorithm,
        plan,
        seed=seed,
        observe=lambda step, rollout, updates, _: scores.append(rollout.metrics["rl/score"]),
    )
    return scores


REUSED = Plan(steps=25, epochs=2, minibatches=2)
"""Each rollout serves four updates."""
FRESH = Plan(steps=100)
"""As many updates, each on its own rollout: all that RLOO may take from one."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("algorithm", "plan"),
    [(PPO(), REUSED), (GRPO(), REUSED), (RLOO(), FRESH)],
    ids=["ppo", "grpo", "rloo"],
)
def test_rewards_teach_a_language_model_to_echo_and_without_advantages_nothing_does(
    algorithm, plan, seed, tmp_path
):
    scores = scores_while_training(tmp_path / "learns", algorithm, plan, seed)
    assert np.mean(scores[:2]) < 0.15  # one letter in nine
    assert np.mean(scores[-3:]) > 0.6
    control = scores_while_training(tmp_path / "control", ZeroAdvantages(algorithm), plan, seed)
    assert max(control) < 0.15


WORTH = {"sea": 2.0, "cat": 1.2, "dog": 0.4, "mat": 0.0, "blue": -0.4, "wide": -1.2, "ran": -2.0}
"""What a planted judge thinks of each word; an answer is worth the sum of its words."""
PROMPTS = [Conversation.of(f"What is {a} + {b}?") for a in range(20) for b in range(15)]


def answers(seed: int, num: int) -> list[tuple[Conversation, str, float]]:
    """Prompts with random answers of three words, and what they are worth."""
    stream = rng.stream(seed, "answers")
    words = list(WORTH)
    out = []
    for _ in range(num):
        chosen = [words[i] for i in stream.integers(len(words), size=3)]
        prompt = PROMPTS[int(stream.integers(len(PROMPTS)))]
        out.append((prompt, " ".join(chosen), sum(WORTH[w] for w in chosen)))
    return out


def judged(path, seed: int, num: int):
    """Comparisons by a judge who prefers by the Bradley-Terry law, as a stage would leave them."""
    stream = rng.stream(seed, "judge")
    left, right = answers(seed, num), answers(seed + 1000, num)
    comparisons = []
    for (prompt, a, worth_a), (_, b, worth_b) in zip(left, right, strict=True):
        a_wins = stream.random() < 1 / (1 + np.exp(worth_b - worth_a))
        winner = "a" if a_wins else "b"
        comparisons.append(Comparison(prompt=prompt, a=a, b=b, winner=winner, annotator="planted"))
    write_comparisons(path, comparisons)
    return path


def stage_context(stage, tmp_path, seed: int) -> Context:
    """A stage's context over a tiny random chat model and judged comparisons."""
    tokenizer, start = tiny_tokenizer(), tmp_path / "start"
    logging.disable_progress_bar()
    tiny_llama(tokenizer, seed).save_pretrained(start)
    tokenizer.save_pretrained(start)
    comparisons = judged(tmp_path / "comparisons.jsonl", seed, 600)
    inputs = {"start.model": start, "judge.comparisons": comparisons}
    return Context.for_test(tmp_path, outputs=type(stage).outputs, inputs=inputs, run_seed=seed)


FROM = {
    "model": Ref("start", "model"),
    "comparisons": Ref("judge", "comparisons"),
    "passes": Passes(batch_rows=16, epochs=6),
    "optim": Optim(lr=3e-3, schedule="linear"),
    "precision": "float32",
}


@torch.no_grad()
def answer_logprobs(path, rows) -> np.ndarray:
    """Summed log-probability of each answer under a model directory."""
    text = TextModel.open(path, "float32")
    found = []
    for prompt, answer, _ in rows:
        stem, ids = text.answer(prompt, answer)
        forest = Forest.of([Tree.prompt(stem, [ids])], torch.device("cpu"))
        found.append(float(score_trees(text.model, forest)[0].sum()))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_dpos_implicit_rewards_recover_planted_preferences(seed, tmp_path):
    stage = Prefer(**FROM, algorithm=DPO(beta=0.3))
    ctx = stage_context(stage, tmp_path, seed)
    stage.run(ctx)
    fresh = answers(seed + 5000, 150)
    worth = np.array([row[2] for row in fresh])
    implicit = answer_logprobs(ctx.output("model"), fresh) - answer_logprobs(
        tmp_path / "start", fresh
    )
    assert np.corrcoef(implicit, worth)[0, 1] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_reward_model_recovers_planted_scores(seed, tmp_path):
    stage = TrainReward(**FROM)
    ctx = stage_context(stage, tmp_path, seed)
    stage.run(ctx)
    fresh = answers(seed + 5000, 150)
    worth = np.array([row[2] for row in fresh])
    text = TextModel.open(tmp_path / "start", "float32")
    ids = [text.answer(prompt, answer) for prompt, answer, _ in fresh]
    model = open_reward_model(ctx.output("reward_model"), precision="float32", micro_tokens=2048)
    scores = np.array(model.scores([p for p, _ in ids], [c for _, c in ids]))
    assert np.corrcoef(scores, worth)[0, 1] > 0.9
