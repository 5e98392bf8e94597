"""Optimiser steps as every stage takes them, timed: supervised ones, and reinforcement learning.

A step on completions goes through the loop, the learner and the algorithm of the RL stages. Their
texts are random tokens and their scores random numbers, so that no judge takes part and no row is
without signal.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from burnish import rng
from burnish.algos.batch import Loss, Need, PolicyAlgorithm, RolloutBatch
from burnish.algos.grpo import GRPO
from burnish.bench.flops import Shape, attended
from burnish.bench.sampling import random_rows
from burnish.bench.spread import Spread
from burnish.engine.improve import Plan, improve
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Learner, LossFunction, Metrics, Request, Rollout, Sampling
from burnish.engine.text_inputs import TextInputs
from burnish.engine.trainer import StepLog, Trainer
from burnish.models.policy import Forest, Tree, head_weight, micro_batches, score_trees

REPEATS = 3
WARM_UP = 2
"""Supervised steps that do not count: the second still asks the system for memory, of which the
first left no pieces that fit."""
MICRO_TOKENS = 2048
"""The stages' default."""
OPTIM = Optim(lr=1e-9)


class TimedTrainer(Trainer):
    """Notes when the last gradient is there: what follows is the optimiser."""

    gradients_s = 0.0
    optimiser_s = 0.0

    def step(self, slices: Iterable[Loss]) -> StepLog:
        """As `Trainer.step`."""
        started = time.perf_counter()
        log = super().step(self._noting(slices, started))
        self.optimiser_s = time.perf_counter() - started - self.gradients_s
        return log

    def _noting(self, slices: Iterable[Loss], started: float) -> Iterator[Loss]:
        yield from slices
        # Another slice is asked for once the gradients of the last are there.
        self.gradients_s = time.perf_counter() - started


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervised:
    """Documents of which every token is trained."""

    documents: int
    document_tokens: int
    tokens_per_s: Spread
    flops_per_token: float
    gradients_s: Spread
    optimiser_s: Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStep:
    """A GRPO step with truncated importance weights, which make it score its own completions."""

    prompts: int
    completions: int
    """Of each prompt."""
    prompt_tokens: int
    new_tokens: int
    sampling_s: Spread
    scoring_s: Spread
    """The learner's log-probabilities of what was sampled. A step without importance weights,
    further updates or a KL penalty has none."""
    update_s: Spread
    """Forwards and backwards."""
    optimiser_s: Spread
    total_s: Spread
    scoring_flops: float
    update_flops: float


def time_supervised(model: nn.Module, *, documents: int, document_tokens: int) -> Supervised:
    """Steps on random documents."""
    trees = [
        Tree.document(row, [False] + [True] * (document_tokens - 1))
        for row in random_rows(model, documents, document_tokens)
    ]
    trainer = TimedTrainer(model, OPTIM, num_steps=WARM_UP + REPEATS)
    gradients, optimiser = timed_steps(trainer, trees)
    trainer.optim.close()
    seconds = [a + b for a, b in zip(gradients, optimiser, strict=True)]
    flops = Shape.of(model).training_flops(
        tokens=document_tokens,
        predicting=document_tokens - 1,
        attended=attended(0, [document_tokens]),
    )
    return Supervised(
        documents=documents,
        document_tokens=document_tokens,
        tokens_per_s=Spread.of(seconds).per(documents * document_tokens),
        flops_per_token=flops / document_tokens,
        gradients_s=Spread.of(gradients),
        optimiser_s=Spread.of(optimiser),
    )


def timed_steps(
    trainer: TimedTrainer,
    trees: Sequence[Tree],
    *,
    warm_up: int = WARM_UP,
    repeats: int = REPEATS,
) -> tuple[list[float], list[float]]:
    """Seconds of gradients and of the optimiser, in steps on the same trees after a warm-up."""
    device = head_weight(trainer.model).device
    count = sum(sum(flags) for tree in trees for flags in tree.trained)

    def losses() -> Iterator[Loss]:
        for index in micro_batches([tree.num_tokens for tree in trees], MICRO_TOKENS):
            forest = Forest.of([trees[i] for i in index], device)
            logprobs, _, _ = score_trees(trainer.model, forest)
            yield Loss(-logprobs.sum() / count)

    gradients, optimiser = [], []
    for _ in range(warm_up + repeats):
        trainer.step(losses())
        gradients.append(trainer.gradients_s)
        optimiser.append(trainer.optimiser_s)
    return gradients[warm_up:], optimiser[warm_up:]


def time_group_step(
    model: nn.Module, *, prompts: int, completions: int, prompt_tokens: int, new_tokens: int
) -> GroupStep:
    """Whole steps of GRPO."""
    trainer = TimedTrainer(model, OPTIM, num_steps=REPEATS + 1)
    learner = _TimedLearner(trainer)
    collector = _RandomCollector(
        LocalSampler(model, max_rows=prompts * completions),
        random_rows(model, prompts, prompt_tokens),
        completions,
        new_tokens,
    )
    ends = [time.perf_counter()]
    parts: list[tuple[float, ...]] = []

    def observe(
        step: int, rollout: Rollout, taken: list[Metrics], algorithm: PolicyAlgorithm
    ) -> None:
        del step, rollout, taken, algorithm
        ends.append(time.perf_counter())
        step_s = learner.step_s - trainer.optimiser_s
        total = ends[-1] - ends[-2]
        parts.append((collector.seconds, learner.score_s, step_s, trainer.optimiser_s, total))

    improve(
        collector,
        learner,
        GRPO(),
        Plan(steps=REPEATS + 1, importance_cap=2.0),
        seed=0,
        observe=observe,
    )
    trainer.optim.close()
    sampling, scoring, update, optimiser, total = map(Spread.of, zip(*parts[1:], strict=True))
    shape, new = Shape.of(model), completions * new_tokens
    cost = {
        "tokens": prompt_tokens + new,
        "predicting": new,
        "attended": attended(prompt_tokens, [new_tokens] * completions),
    }
    return GroupStep(
        prompts=prompts,
        completions=completions,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        sampling_s=sampling,
        scoring_s=scoring,
        update_s=update,
        optimiser_s=optimiser,
        total_s=total,
        scoring_flops=float(prompts * shape.forward_flops(**cost)),
        update_flops=float(prompts * shape.training_flops(**cost)),
    )


class _TimedLearner:
    """A learner whose calls are timed."""

    def __init__(self, trainer: Trainer) -> None:
        self._learner = LocalLearner(trainer, temperature=1.0, micro_tokens=MICRO_TOKENS)
        self.score_s = self.step_s = 0.0

    def annotate(self, rollout: Rollout, needs: frozenset[Need]) -> Rollout:
        started = time.perf_counter()
        found = self._learner.annotate(rollout, needs)
        self.score_s = time.perf_counter() - started
        return found

    def step(self, inputs: object, batch: RolloutBatch, loss: LossFunction) -> Metrics:
        started = time.perf_counter()
        found = self._learner.step(inputs, batch, loss)
        self.step_s = time.perf_counter() - started
        return found

    def snapshot(self) -> Mapping[str, Tensor]:
        return self._learner.snapshot()


class _RandomCollector:
    """Samples completions of random prompts, all of one length, and scores them at random."""

    def __init__(
        self,
        sampler: LocalSampler,
        prompts: Sequence[tuple[int, ...]],
        completions: int,
        new_tokens: int,
    ) -> None:
        self._sampler, self._prompts = sampler, prompts
        self._completions, self._new_tokens = completions, new_tokens
        self.seconds = 0.0

    def collect(self, step: int) -> Rollout:
        started = time.perf_counter()
        requests = [
            Request(prompt=prompt, key=rng.key(0, "bench", step, i), num=self._completions)
            for i, prompt in enumerate(self._prompts)
        ]
        groups = self._sampler.sample(requests, Sampling(max_new_tokens=self._new_tokens))
        self.seconds = time.perf_counter() - started
        rows = [completion for group in groups for completion in group]
        scores = rng.stream(0, "bench", "scores", step).random(len(rows))
        return Rollout(
            inputs=TextInputs(
                tuple(p for p in self._prompts for _ in range(self._completions)),
                tuple(row.tokens for row in rows),
                self._new_tokens,
            ),
            batch=RolloutBatch.of_completions(
                mask=torch.ones(len(rows), self._new_tokens, dtype=torch.bool),
                scores=torch.from_numpy(scores).float(),
                group=torch.arange(len(rows)) // self._completions,
                sampler_logprobs=torch.tensor([row.logprobs for row in rows]),
            ),
        )

    def sync(self, learner: Learner, step: int) -> None:
        self._sampler.load(learner.snapshot(), step)
