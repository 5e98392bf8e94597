"""The text collector: samples completions of problems, has them judged, and makes a RolloutBatch.

A completion is one episode. Its score arrives at its last token; nothing follows, so it counts as
terminated there, whether the model stopped or the limit cut it (which is counted and shown).
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from burnish import rng
from burnish.algos.batch import RolloutBatch
from burnish.engine.local_learner import TextInputs
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Learner, Request, Rollout, Sampling
from burnish.engine.scorers import Scorer
from burnish.types import Completion, Finish, Problem, Verdict, mean


@dataclass(frozen=True, slots=True)
class Episode:
    """One completion of a rollout and its judgement."""

    problem: Problem
    completion: Completion
    text: str
    verdict: Verdict
    gold: Verdict


class TextCollector:
    """Samples with the learner's current weights."""

    def __init__(
        self,
        *,
        sampler: LocalSampler,
        problems: Sequence[Problem],
        prompt_ids: Sequence[tuple[int, ...]],
        decode: Callable[[Sequence[int]], str],
        scorer: Scorer,
        gold: Scorer,
        sampling: Sampling,
        problems_per_step: int,
        group_size: int,
        seed: int,
    ) -> None:
        self._sampler, self._problems, self._prompt_ids = sampler, problems, prompt_ids
        self._decode, self._scorer, self._gold = decode, scorer, gold
        self._sampling = sampling
        self._per_step, self._group_size, self._seed = problems_per_step, group_size, seed
        self.episodes: list[Episode] = []
        """Of the last rollout."""

    def collect(self, step: int) -> Rollout:
        """Sample `group_size` completions of the step's problems, and judge them."""
        chosen = self._choose(step)
        requests = [
            Request(
                prompt=self._prompt_ids[i],
                key=rng.key(self._seed, "rollout", step, self._problems[i].id, *again),
                num=self._group_size,
            )
            for i, again in zip(chosen, self._repeats(chosen), strict=True)
        ]
        started, before = time.perf_counter(), self._sampler.sampled_tokens
        groups = self._sampler.sample(requests, self._sampling)
        sample_s = time.perf_counter() - started
        rows = [
            (i, completion) for i, group in zip(chosen, groups, strict=True) for completion in group
        ]
        problems = [self._problems[i] for i, _ in rows]
        prompts = [self._prompt_ids[i] for i, _ in rows]
        completions = [completion for _, completion in rows]
        tokens = [c.tokens for c in completions]
        texts = [self._decode(t) for t in tokens]
        verdicts = self._scorer.score(problems, texts, prompts, tokens)
        golds = self._gold.score(problems, texts, prompts, tokens)
        self.episodes = [
            Episode(*row) for row in zip(problems, completions, texts, verdicts, golds, strict=True)
        ]
        metrics = self._metrics(verdicts, golds, completions) | {
            "rl/sampled_tokens": float(self._sampler.sampled_tokens - before),
            "rl/sample_seconds": sample_s,
        }
        inputs = TextInputs(tuple(prompts), tuple(tokens), max(len(t) for t in tokens))
        return Rollout(
            inputs=inputs,
            batch=text_batch(completions, verdicts, self._group_size),
            metrics=metrics,
        )

    def sync(self, learner: Learner, step: int) -> None:
        """The sampler takes the learner's weights."""
        self._sampler.load(learner.snapshot(), step)

    def _choose(self, step: int) -> list[int]:
        """The step's problems: consecutive ones of each epoch's permutation, end to end."""
        chosen = []
        for place in range(step * self._per_step, (step + 1) * self._per_step):
            epoch, offset = divmod(place, len(self._problems))
            order = rng.stream(self._seed, "problems", epoch).permutation(len(self._problems))
            chosen.append(int(order[offset]))
        return chosen

    def _repeats(self, chosen: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """What tells a problem's second and later places in one step from its first."""
        seen: Counter[str] = Counter()
        for i in chosen:
            problem_id = self._problems[i].id
            yield (seen[problem_id],) if seen[problem_id] else ()
            seen[problem_id] += 1

    @staticmethod
    def _metrics(
        verdicts: Sequence[Verdict], golds: Sequence[Verdict], completions: Sequence[Completion]
    ) -> dict[str, float]:
        scores = [s for v in verdicts if (s := finite_score(v)) is not None]
        gold = [s for v in golds if (s := finite_score(v)) is not None]
        return {
            "rl/score": mean(scores),
            "rl/gold": mean(gold),
            "rl/length": mean([len(c.tokens) for c in completions]),
            "rl/truncated": mean([float(c.finish is Finish.LENGTH) for c in completions]),
            "rl/unscored": float(len(verdicts) - len(scores)),
        }


def finite_score(verdict: Verdict) -> float | None:
    """The score; None where there is none that could be trained on, NaN and infinity included."""
    return verdict.score if verdict.score is not None and math.isfinite(verdict.score) else None


def text_batch(
    completions: Sequence[Completion], verdicts: Sequence[Verdict], group_size: int
) -> RolloutBatch:
    """The `[B, T]` batch of completions; consecutive `group_size` rows are a group."""
    size = (len(completions), max(len(c.tokens) for c in completions))
    mask = torch.zeros(size, dtype=torch.bool)
    terminated = torch.zeros(size, dtype=torch.bool)
    rewards, sampler_logprobs = torch.zeros(size), torch.zeros(size)
    scores = torch.full((size[0],), float("nan"))
    for row, (completion, verdict) in enumerate(zip(completions, verdicts, strict=True)):
        length = len(completion.tokens)
        sampler_logprobs[row, :length] = torch.tensor(completion.logprobs)
        score = finite_score(verdict)
        if score is None:
            continue  # unscorable: no decision of it is trained
        mask[row, :length] = True
        terminated[row, length - 1] = True
        rewards[row, length - 1] = score
        scores[row] = score
    return RolloutBatch(
        mask=mask,
        rewards=rewards,
        scores=scores,
        group=torch.arange(size[0]) // group_size,
        terminated=terminated,
        truncated=torch.zeros(size, dtype=torch.bool),
        sampler_logprobs=sampler_logprobs,
    )
