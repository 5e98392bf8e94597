"""Held-out problems, looked at while a policy is trained on a learnt reward: does gold still rise?

Every so many steps the policy answers the same problems with the same random numbers; the reward
model's score is the proxy, the problems' verifier gives gold. Nothing of it is trained on.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from burnish import rng
from burnish.algos.batch import PolicyAlgorithm
from burnish.config import require, require_counts
from burnish.data.store import read_problems
from burnish.engine.improve import Observe
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Metrics, Request, Rollout, Sampling
from burnish.engine.reward_model import RewardModel
from burnish.engine.text_model import TextModel
from burnish.errors import DataError
from burnish.evals.alarm import RATE, Alarm, Look, alarm
from burnish.pipeline.artifact import ProblemsRef
from burnish.pipeline.files import write_atomic
from burnish.pipeline.stage import Context
from burnish.verifiers.verify import gold_scores

FILE = "watch.jsonl"
ALARM = "alarm"
"""Key of the note."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Which problems, and how often."""

    problems: ProblemsRef
    """Held out, with a verifier: its score is gold."""
    every: int = 5
    """Steps between two looks; there is one before the first step and one after the last too, but
    where max_forwards ends the training before that."""
    num: int = 32
    """Problems, the first so many; more of them make the alarm see smaller falls."""
    rate: float = RATE
    """How often a run whose gold never falls may raise the alarm, at most."""

    def __post_init__(self) -> None:
        require_counts(self, "every", "num")
        require(self.num >= 2, "num must be at least 2: an interval needs two problems")
        require(0 < self.rate < 1, "rate must be in (0, 1)")

    def looks(self, steps: int) -> int:
        """How many looks a run of so many steps has."""
        return planned_looks(self.every, steps)


def planned_looks(every: int, steps: int) -> int:
    """Before the first step, every so many, and after the last."""
    return len({*range(0, steps + 1, every), steps})


class Watcher:
    """Looks at a policy under training, and warns once gold has fallen while the proxy rose."""

    def __init__(
        self,
        ctx: Context,
        watch: Watch,
        text: TextModel,
        sampler: LocalSampler,
        judge: RewardModel,
        sampling: Sampling,
        steps: int,
    ) -> None:
        self._ctx, self._watch, self._text = ctx, watch, text
        self._sampler, self._judge, self._sampling = sampler, judge, sampling
        self._steps = steps
        self._problems = read_problems(ctx.input(watch.problems))[: watch.num]
        if len(self._problems) < 2:
            raise DataError("watch.problems has fewer than two problems: give more")
        self._file = ctx.dir / FILE
        self._looks: list[Look] = []

    def _begin(self, start: int) -> None:
        """Keep the looks up to the step that training goes on from; look once before the first."""
        self._looks = [look for look in read_looks(self._file) if look.step <= start]
        if start == 0:
            self._looks = []
            self.look(0)
        for n in range(len(self._looks)):
            self._warn(self._looks[: n + 1])

    def observing(self, observe: Observe, start: int) -> Observe:
        """The same observer of training from step `start` on, after a look where one is due: so
        that a checkpoint knows of it."""
        self._begin(start)

        def both(
            step: int, rollout: Rollout, updates: list[Metrics], following: PolicyAlgorithm
        ) -> None:
            done = step + 1
            if done % self._watch.every == 0 or done == self._steps:
                self.look(done)
                self._warn(self._looks)
            observe(step, rollout, updates, following)

        return both

    def look(self, step: int) -> None:
        """Score the policy as it is after `step` updates."""
        self._text.model.eval()
        requests = [
            Request(prompt=self._text.prompt(p.prompt), key=rng.key(self._ctx.seed, "watch", p.id))
            for p in self._problems
        ]
        done = [group[0] for group in self._sampler.sample(requests, self._sampling)]
        proxy = self._judge.scores([r.prompt for r in requests], [c.tokens for c in done])
        texts = [self._text.decode(c.tokens) for c in done]
        gold = gold_scores(list(zip(self._problems, texts, strict=True)), "watch.problems")
        self._looks.append(Look(step=step, proxy=tuple(proxy), gold=tuple(gold)))
        write_looks(self._file, self._looks)

    def _warn(self, looks: Sequence[Look]) -> None:
        if ALARM in self._ctx.tallies.notes:
            return
        found = alarm(looks, planned=self._watch.looks(self._steps), rate=self._watch.rate)
        if found is not None:
            self._ctx.warn(warning(found, self._watch.rate), key=ALARM)


def warning(found: Alarm, rate: float) -> str:
    """One line about a raised alarm."""
    return (
        f"over-optimisation: from step {found.since} to {found.step} the proxy rose by "
        f"{found.proxy.estimate:.3f} and held-out gold fell by {-found.gold.estimate:.3f} "
        f"({found.gold.n} problems; an alarm in at most {rate:.0%} of runs whose gold never "
        "falls): stop earlier, or raise kl_coef"
    )


def write_looks(path: Path, looks: Sequence[Look]) -> None:
    """One look a line."""
    rows = [{"step": x.step, "proxy": list(x.proxy), "gold": list(x.gold)} for x in looks]
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_looks(path: Path) -> Iterator[Look]:
    """What `write_looks` wrote; nothing where there is no file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for row in map(json.loads, text.splitlines()):
        yield Look(step=row["step"], proxy=tuple(row["proxy"]), gold=tuple(row["gold"]))
