"""Paths from one start, trained with several seeds: what each scored, and what it really took.

A model NAME_s1 beside NAME_s2 is one path with two seeds. All that is said of a path's cost and
needs is read from what its stages tallied and read, nothing from what the method is known for.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from burnish.evals.crossed import crossed_interval
from burnish.evals.stats import Interval
from burnish.pipeline.stage import forwards
from burnish.stages.recording import MODELS_HELD
from burnish.stages.report_files import RunFiles, StageFiles
from burnish.stages.report_kinds import num_weights
from burnish.stages.report_landscape import upstream
from burnish.stages.report_scores import Scores, Suite, by_problem, finite

_SEED = re.compile(r"(.+)_s\d+")
KINDS = ("sampled_tokens", "scored_tokens", "trained_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What the stages between the start and one model took."""

    stages: tuple[StageFiles, ...]
    last: StageFiles
    """That which made the model."""
    tokens: Mapping[str, float]

    @property
    def forwards(self) -> float:
        """Forward passes of one token."""
        return forwards(**self.tokens)

    @property
    def reads_reward_model(self) -> bool:
        """Whether a stage on the way made one: then a later one read it."""
        return any(a.kind == "reward_model" for s in self.stages for a in s.artifacts)

    @property
    def sampled_in_training(self) -> float:
        """Tokens that the training itself drew: above 0, it is on-policy."""
        return finite(self.last.spent.get("sampled_tokens")) or 0.0

    @property
    def models_held(self) -> float | None:
        """The most models that any of the stages had open at one time."""
        held = [h for s in self.stages if (h := finite(_values(s).get(MODELS_HELD))) is not None]
        return max(held, default=None)

    @property
    def updates(self) -> int:
        """Optimiser steps, or rollouts, of the training itself."""
        return len(self.last.metrics)

    @property
    def settings(self) -> int:
        """Values that its algorithm (else its loss) can be given."""
        return _leaves(self.last.config.get("algorithm", self.last.config.get("loss")))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPath:
    """One way from the start, over all of its seeds; intervals are crossed."""

    name: str
    suite: Suite
    source: str
    gold: Interval
    gain: Interval
    """Gold less the start's, on the same problems."""
    proxy: Interval | None
    proxy_gain: Interval | None
    kl: Interval | None
    taken: tuple[Taken, ...]
    """One a seed."""

    @property
    def key(self) -> str:
        return f"path/{self.suite.stage}/{self.suite.task}/{self.name}"

    def mean(self, kind: str) -> float:
        """Tokens of a kind, or `forwards`, as a mean over seeds."""
        found = [t.forwards if kind == "forwards" else t.tokens[kind] for t in self.taken]
        return sum(found) / len(found)


def seeded(models: Sequence[str]) -> dict[str, list[str]]:
    """Name of a path -> its models, one a seed, where there are several."""
    groups: dict[str, list[str]] = defaultdict(list)
    for model in models:
        match = _SEED.fullmatch(model)
        if match is not None:
            groups[match.group(1)].append(model)
    return {name: members for name, members in groups.items() if len(members) > 1}


def read_paths(run: RunFiles, scores: Scores | None) -> list[TrainingPath]:
    """Every path of a run, suite by suite."""
    return [path for suite in (scores.suites if scores else ()) for path in _paths(run, suite)]


def _paths(run: RunFiles, suite: Suite) -> Iterator[TrainingPath]:
    for name, members in seeded(list(suite.cells)).items():
        start, cells = suite.cells[suite.start], [suite.cells[m] for m in members]
        known = [p for p in start.values if all(p in cell.values for cell in cells)]
        taken = tuple(_taken(run, cell.made_by, start.made_by) for cell in cells)
        if not known or None in taken:
            continue
        gold = [[cell.values[p] for p in known] for cell in cells]
        yield TrainingPath(
            name=name,
            suite=suite,
            source=start.source,
            gold=crossed_interval(gold),
            gain=crossed_interval(
                [[cell.values[p] - start.values[p] for p in known] for cell in cells]
            ),
            proxy=_crossed(suite, members, "proxy"),
            proxy_gain=_crossed(suite, members, "proxy", suite.start),
            kl=_crossed(suite, members, "kl"),
            taken=tuple(t for t in taken if t is not None),
        )


def _crossed(
    suite: Suite, members: Sequence[str], key: str, start: str | None = None
) -> Interval | None:
    """The crossed mean of a column of the rows, less the start's where one is given."""
    values = [by_problem(suite.rows[m], key) for m in members]
    base = by_problem(suite.rows[start], key) if start else dict.fromkeys(values[0], 0.0)
    known = [p for p in base if all(p in v for v in values)]
    if not known:
        return None
    return crossed_interval([[v[p] - base[p] for p in known] for v in values])


def _taken(run: RunFiles, made_by: str, start: str) -> Taken | None:
    last = run.stage(made_by)
    if last is None or not last.folder:
        return None
    names = upstream(run, last.name) - upstream(run, start)
    stages = tuple(s for s in run.stages if s.name in names)
    tokens = {kind: sum(finite(s.spent.get(kind)) or 0.0 for s in stages) for kind in KINDS}
    return Taken(stages=stages, last=last, tokens=tokens)


def parameters(run: RunFiles, stage: str) -> int | None:
    """How many numbers a stage's model has, from the headers of its weights; None without any."""
    found = run.stage(stage)
    artifact = next((a for a in found.artifacts if a.kind == "model"), None) if found else None
    if artifact is None:
        return None
    files = sorted((run.dir / artifact.path).glob("*.safetensors"))
    try:
        return sum(map(num_weights, files)) if files else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # a made-up or damaged file: FLOPs are then not shown


def _values(stage: StageFiles) -> Mapping[str, object]:
    found = stage.tallies.get("values")
    return found if isinstance(found, Mapping) else {}


def _leaves(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_leaves(below) for below in value.values())
    return int(value is not None)
