"""The text collector: samples completions of problems, has them judged, and makes a RolloutBatch.

A completion is one episode. Its score arrives at its last token; nothing follows, so it counts as
terminated there, whether the model stopped or the limit cut it (which is counted and shown).
Scorers that take their time are told of a completion as soon as it is finished, and judge it while
the others are being sampled.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from burnish.algos.batch import RolloutBatch
from burnish.engine.curriculum import Curriculum
from burnish.engine.local_sampler import LocalSampler, OnCompletion
from burnish.engine.problem_order import ProblemOrder
from burnish.engine.protocols import Learner, Request, Rollout, Sampling
from burnish.engine.scorers import Counting, Early, Scorer
from burnish.engine.shaping import Shaping
from burnish.engine.text_inputs import TextInputs
from burnish.types import Completion, Finish, Json, Problem, Verdict, mean

PLAIN = Shaping()


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One completion of a rollout and its judgement."""

    problem: Problem
    prompt: tuple[int, ...]
    completion: Completion
    text: str
    verdict: Verdict
    gold: Verdict
    score: float | None
    """The verdict's, shaped: what is trained on. None: it is not trained on."""


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
        shaping: Shaping = PLAIN,
        refills: int = 0,
        curriculum: Curriculum | None = None,
    ) -> None:
        self._sampler, self._problems, self._prompt_ids = sampler, problems, prompt_ids
        self._decode, self._scorer, self._gold = decode, scorer, gold
        self._early = [s for s in (scorer, gold) if isinstance(s, Early)]
        self._sampling = sampling
        self._group_size, self._shaping = group_size, shaping
        self._order = ProblemOrder(
            problems,
            per_step=problems_per_step,
            seed=seed,
            refills=refills,
            curriculum=curriculum,
        )
        self._sample_s = 0.0
        self.episodes: list[Episode] = []
        """Of the last rollout."""

    def collect(self, step: int) -> Rollout:
        """Sample `group_size` completions of the step's problems, and judge them.

        Groups whose scores are all equal are sampled anew from other problems, in at most
        `refills` further rounds (DAPO's dynamic sampling); what is still missing then is filled
        with silent groups, so that a step always has the same size.
        """
        before = self._sampler.sampled_tokens
        self._sample_s = 0.0
        groups, noted = self._order.gather(step, self._round, lambda e: e.score, lambda e: e.gold)
        self.episodes = [episode for group in groups for episode in group]
        metrics = self._metrics(self.episodes) | {
            "rl/sampled_tokens": float(self._sampler.sampled_tokens - before),
            "rl/sample_seconds": self._sample_s,
        }
        metrics |= noted
        if isinstance(self._scorer, Counting):
            metrics |= self._scorer.counted()
        tokens = tuple(e.completion.tokens for e in self.episodes)
        prompts = tuple(e.prompt for e in self.episodes)
        return Rollout(
            inputs=TextInputs(prompts, tokens, max(len(t) for t in tokens)),
            batch=text_batch(self.episodes, self._group_size),
            metrics=metrics,
        )

    def _round(self, step: int, turn: int) -> list[list[Episode]]:
        """Judged completions of one round's problems, by group."""
        chosen = self._order.choose(step, turn)
        requests = [
            Request(prompt=self._prompt_ids[i], key=key, num=self._group_size)
            for i, key in zip(chosen, self._order.keys(step, turn, chosen), strict=True)
        ]
        early: dict[int, str] = {}
        starter = self._starter(chosen, early) if self._early else None
        started = time.perf_counter()
        groups = self._sampler.sample(requests, self._sampling, on_completion=starter)
        self._sample_s += time.perf_counter() - started
        rows = [(i, c) for i, group in zip(chosen, groups, strict=True) for c in group]
        problems = [self._problems[i] for i, _ in rows]
        prompts = [self._prompt_ids[i] for i, _ in rows]
        tokens = [completion.tokens for _, completion in rows]
        texts = [early[row] if row in early else self._decode(t) for row, t in enumerate(tokens)]
        verdicts = self._scorer.score(problems, texts, prompts, tokens)
        golds = self._gold.score(problems, texts, prompts, tokens)
        episodes = [
            Episode(
                problem=problem,
                prompt=prompt,
                completion=completion,
                text=text,
                verdict=verdict,
                gold=gold,
                score=self._shaping.shaped(
                    finite_score(verdict), completion, self._sampling.max_new_tokens
                ),
            )
            for problem, prompt, (_, completion), text, verdict, gold in zip(
                problems, prompts, rows, texts, verdicts, golds, strict=True
            )
        ]
        size = self._group_size
        return [episodes[first : first + size] for first in range(0, len(episodes), size)]

    def _starter(self, chosen: Sequence[int], texts: dict[int, str]) -> OnCompletion:
        """Tells the scorers of a round's completions as they finish, and keeps their `texts`."""

        def start(request: int, index: int, completion: Completion) -> None:
            row = request * self._group_size + index
            text = texts[row] = self._decode(completion.tokens)
            for scorer in self._early:
                scorer.start(row, self._problems[chosen[request]], text)

        return start

    def sync(self, learner: Learner, step: int) -> None:
        """The sampler takes the learner's weights."""
        self._sampler.load(learner.snapshot(), step)

    def state(self) -> dict[str, Json]:
        """What a resume needs beside the weights: the curriculum's, if there is one."""
        return self._order.state()

    def restore(self, state: Mapping[str, Json]) -> None:
        """Go on from what `state` saved. Raises: CheckpointError."""
        self._order.restore(state)

    def shown(self, num: int) -> list[dict[str, Json]]:
        """The last rollout's first episodes, as samples for people."""
        return [
            {
                "prompt": e.problem.prompt.last_user,
                "completion": e.text,
                "score": e.verdict.score,
                "gold": e.gold.score,
                **({"why": e.verdict.why} if e.verdict.score is None else {}),
            }
            for e in self.episodes[:num]
        ]

    @staticmethod
    def _metrics(episodes: Sequence[Episode]) -> dict[str, float]:
        scores = [s for e in episodes if (s := finite_score(e.verdict)) is not None]
        gold = [s for e in episodes if (s := finite_score(e.gold)) is not None]
        trained = [e for e in episodes if e.score is not None]
        return {
            "rl/score": mean(scores),
            "rl/gold": mean(gold),
            "rl/shaping": mean([e.score - e.verdict.score for e in trained]),  # type: ignore[operator]
            "rl/length": mean([len(e.completion.tokens) for e in episodes]),
            "rl/truncated": mean([float(e.completion.finish is Finish.LENGTH) for e in episodes]),
            "rl/unscored": float(len(episodes) - len(trained)),
        } | {f"rl/reward/{name}": mean(of) for name, of in _parts(episodes).items()}


def _parts(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """The scores of each part of the reward, where it has parts and they have a score."""
    found: dict[str, list[float]] = {}
    for episode in episodes:
        for name, score in episode.verdict.parts.items():
            found.setdefault(name, []).append(score)
    return found


def finite_score(verdict: Verdict) -> float | None:
    """The score; None where there is none that could be trained on, NaN and infinity included."""
    return verdict.score if verdict.score is not None and math.isfinite(verdict.score) else None


def text_batch(episodes: Sequence[Episode], group_size: int) -> RolloutBatch:
    """The `[B, T]` batch of completions; consecutive `group_size` rows are a group."""
    size = (len(episodes), max(len(e.completion.tokens) for e in episodes))
    mask = torch.zeros(size, dtype=torch.bool)
    sampler_logprobs = torch.zeros(size)
    scores = torch.full((size[0],), float("nan"))
    for row, episode in enumerate(episodes):
        length = len(episode.completion.tokens)
        mask[row, :length] = True
        sampler_logprobs[row, :length] = torch.tensor(episode.completion.logprobs)
        if episode.score is not None:
            scores[row] = episode.score
    return RolloutBatch.of_completions(
        mask=mask,
        scores=scores,
        group=torch.arange(size[0]) // group_size,
        sampler_logprobs=sampler_logprobs,
    )
