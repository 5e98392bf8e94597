"""The collector of episodes: plays an environment with the current policy, and makes a
RolloutBatch.

A row is one episode: all its tokens after the opening, with gaps in the mask where the environment
or the chat template spoke. A turn's own reward follows the turn's last token, the verdict's score
the last token of all; group methods compare their sum. Nothing follows the last turn, so it counts
as terminated, whether the environment was done or a limit cut it (which is counted and shown).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from burnish.algos.batch import RolloutBatch
from burnish.engine.curriculum import Curriculum
from burnish.engine.episodes import Chat, Limits, Start, Trajectory, play
from burnish.engine.problem_order import ProblemOrder
from burnish.engine.protocols import Learner, Rollout, Sampler, Sampling
from burnish.engine.shaping import Shaping
from burnish.engine.text_collector import PLAIN, finite_score
from burnish.engine.text_inputs import TextInputs
from burnish.envs.protocol import Env
from burnish.types import Json, Problem, mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """An episode, and what is trained on."""

    trajectory: Trajectory
    total: float | None
    """The verdict's score and the turns' rewards; None: it could not be scored."""
    score: float | None
    """The total, shaped. None: it is not trained on."""


class AgentCollector:
    """Plays with the learner's current weights."""

    def __init__(
        self,
        *,
        env: Env,
        chat: Chat,
        sampler: Sampler,
        sampling: Sampling,
        limits: Limits,
        context: int,
        problems: Sequence[Problem],
        problems_per_step: int,
        group_size: int,
        seed: int,
        shaping: Shaping = PLAIN,
        refills: int = 0,
        curriculum: Curriculum | None = None,
    ) -> None:
        self._env, self._chat, self._sampler = env, chat, sampler
        self._sampling, self._limits, self._context = sampling, limits, context
        self._problems, self._group_size = problems, group_size
        self._shaping = shaping
        self._order = ProblemOrder(
            problems,
            per_step=problems_per_step,
            seed=seed,
            refills=refills,
            curriculum=curriculum,
        )
        self._sample_s, self._sampled = 0.0, 0
        self.episodes: list[Played] = []
        """Of the last rollout."""

    def collect(self, step: int) -> Rollout:
        """Play `group_size` episodes of each of the step's problems."""
        self._sample_s, self._sampled = 0.0, 0
        groups, noted = self._order.gather(
            step, self._round, lambda e: e.score, lambda e: e.trajectory.verdict
        )
        self.episodes = [episode for group in groups for episode in group]
        metrics = episode_metrics(self.episodes) | {
            "rl/sampled_tokens": float(self._sampled),
            "rl/sample_seconds": self._sample_s,
        }
        metrics |= noted
        rows = [episode.trajectory for episode in self.episodes]
        tokens = tuple(row.tokens for row in rows)
        return Rollout(
            inputs=TextInputs(
                tuple(row.prompt for row in rows),
                tokens,
                max(len(t) for t in tokens),
                tuple(row.sampled for row in rows),
            ),
            batch=episode_batch(self.episodes, self._group_size),
            metrics=metrics,
        )

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
                "prompt": opening_text(e.trajectory),
                "completion": e.trajectory.transcript,
                "score": e.total,
                "gold": e.trajectory.verdict.score,
            }
            for e in self.episodes[:num]
        ]

    def _round(self, step: int, turn: int) -> list[list[Played]]:
        chosen = self._order.choose(step, turn)
        keys = self._order.keys(step, turn, chosen)
        env_keys = self._order.keys(step, turn, chosen, "env")
        starts = [
            Start(problem=self._problems[i], key=key, env_key=env_key, num=self._group_size)
            for i, key, env_key in zip(chosen, keys, env_keys, strict=True)
        ]
        started = time.perf_counter()
        found = play(
            starts,
            env=self._env,
            chat=self._chat,
            sampler=self._sampler,
            sampling=self._sampling,
            limits=self._limits,
            context=self._context,
        )
        self._sample_s += time.perf_counter() - started
        self._sampled += sum(t.num_sampled for group in found for t in group)
        return [[self._judged(t) for t in group] for group in found]

    def _judged(self, trajectory: Trajectory) -> Played:
        total = total_score(trajectory)
        lengths = [len(turn.completion.tokens) for turn in trajectory.turns]
        score = self._shaping.shaped_turns(
            total, bool(trajectory.cut), lengths, self._sampling.max_new_tokens
        )
        return Played(trajectory=trajectory, total=total, score=score)


def total_score(trajectory: Trajectory) -> float | None:
    """The verdict's score and all turns' rewards; None where there is none to train on."""
    score = finite_score(trajectory.verdict)
    return None if score is None else score + sum(t.reply.reward for t in trajectory.turns)


def opening_text(trajectory: Trajectory) -> str:
    """What the policy read first, for people; a lone user message as it is."""
    messages = trajectory.opening.messages
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"[{m.role}] {m.content}" for m in messages)


def episode_metrics(episodes: Sequence[Played]) -> dict[str, float]:
    """What a rollout's episodes came to."""
    rows = [e.trajectory for e in episodes]
    totals = [e.total for e in episodes if e.total is not None]
    golds = [s for row in rows if (s := finite_score(row.verdict)) is not None]
    shaped = [e.score - e.total for e in episodes if None not in (e.score, e.total)]  # type: ignore[operator]
    judged = [float(row.verdict.passed) for row in rows if row.verdict.passed is not None]
    counts: Counter[str] = Counter()
    for row in rows:
        for turn in row.turns:
            counts.update(turn.reply.counts)
    cuts = Counter(row.cut for row in rows if row.cut)
    metrics = {
        "rl/score": mean(totals),
        "rl/gold": mean(golds),
        "rl/shaping": mean(shaped),
        "rl/length": mean([row.num_sampled for row in rows]),
        "rl/truncated": mean([float(bool(row.cut)) for row in rows]),
        "rl/unscored": float(sum(e.score is None for e in episodes)),
        "env/turns": mean([len(row.turns) for row in rows]),
        "env/turn_rewards": mean([sum(t.reply.reward for t in row.turns) for row in rows]),
    }
    if judged:
        metrics["env/success"] = mean(judged)
    metrics |= {f"env/cut_{name}": float(cuts[name]) for name in ("tokens", "context", "turns")}
    return metrics | {name: float(n) for name, n in sorted(counts.items())}


def episode_batch(episodes: Sequence[Played], group_size: int) -> RolloutBatch:
    """The `[B, T]` batch of episodes; consecutive `group_size` rows are a group."""
    rows = [episode.trajectory for episode in episodes]
    size = (len(rows), max(len(row.tokens) for row in rows))
    mask = torch.zeros(size, dtype=torch.bool)
    sampler_logprobs, turn_rewards = torch.zeros(size), torch.zeros(size)
    scores = torch.full((size[0],), float("nan"))
    for b, (episode, row) in enumerate(zip(episodes, rows, strict=True)):
        flags = row.sampled
        mask[b, : len(flags)] = torch.tensor(flags)
        sampler_logprobs[b, : len(flags)] = torch.tensor(row.logprobs)
        for t, turn in zip(row.turn_ends, row.turns, strict=True):
            turn_rewards[b, t] = turn.reply.reward
        if episode.score is not None:
            scores[b] = episode.score
    return RolloutBatch.of_completions(
        mask=mask,
        scores=scores,
        group=torch.arange(size[0]) // group_size,
        sampler_logprobs=sampler_logprobs,
        turn_rewards=turn_rewards,
    )
