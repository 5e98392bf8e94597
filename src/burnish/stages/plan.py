"""What a recipe will take, stage by stage: tokens, seconds, memory and disk, before it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from burnish.engine.memory import BASE_BYTES, HALF, Weighed, peak_bytes
from burnish.errors import BurnishError
from burnish.models.get import locate
from burnish.models.shape import ModelShape
from burnish.pipeline.artifact import Ref
from burnish.pipeline.budget import Speeds
from burnish.pipeline.forecast import Forecasting, Known, Texts
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.run import Run
from burnish.pipeline.stage import Sized, Stage, Work
from burnish.pipeline.wiring import inputs_of
from burnish.stages.load import LoadModel
from burnish.stages.rl import RL
from burnish.stages.shorten import Shorten
from burnish.stages.tuning import Tuning

WEIGHTS = ("model", "reward_model", "value_model")
"""Kinds of artifacts that are a model's weights."""
TOKEN_BYTES = 16
"""Of a completion's token in a file: its id, its text, and its share of the rest; a guess."""
USUAL_STAGE_S = 0.6
"""Of a stage that only reads and writes files; a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """Of one stage; None where nothing is known."""

    work: Work | None
    seconds: float | None
    peak_bytes: float | None
    disk_bytes: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of a recipe."""

    stages: Mapping[str, Expected]
    texts: Known
    shapes: Mapping[Ref, ModelShape]

    @property
    def peak_bytes(self) -> float:
        """The most of any stage that is known."""
        return max((e.peak_bytes or 0 for e in self.stages.values()), default=0)

    @property
    def disk_bytes(self) -> float:
        return sum(e.disk_bytes for e in self.stages.values())

    @property
    def seconds(self) -> float:
        """Of all stages that are known."""
        return sum(e.seconds or 0 for e in self.stages.values())


def shapes_of(recipe: Recipe, cache: Path) -> tuple[dict[Ref, ModelShape], list[str]]:
    """The shape of every model that stages read or write, and complaints about those that are
    loaded: a stage's models have the shape of the one it starts from."""
    shapes: dict[Ref, ModelShape] = {}
    wrong: list[str] = []
    for name in recipe.order():
        stage = recipe.stages[name]
        if isinstance(stage, LoadModel):
            try:
                shape = stage.shape or ModelShape.read(locate(stage.name, cache))
            except BurnishError as error:
                wrong.append(f"{name}: `name`: {error}")
                continue
        else:
            known = [i.ref for i in inputs_of(stage) if i.ref in shapes]
            if not known:
                continue
            shape = shapes[known[0]]
            if isinstance(stage, Shorten):
                shape = replace(shape, num_layers=stage.num_layers, total_params=None)
        shapes |= {Ref(name, o): shape for o, kind in stage.outputs.items() if kind in WEIGHTS}
    return shapes, wrong


def foresee(
    recipe: Recipe,
    shapes: Mapping[Ref, ModelShape],
    texts: Known,
    speeds: Speeds | None,
    *,
    gpu: bool,
) -> Forecast:
    """Walk the recipe in the order of running: what a stage writes is what later ones read."""
    known: dict[Ref, Texts] = dict(texts)
    stages: dict[str, Expected] = {}
    for name in recipe.order():
        stage = recipe.stages[name]
        work: Work | None = None
        if isinstance(stage, Forecasting):
            work, written = stage.forecast(known)
            known |= {Ref(name, output): found for output, found in written.items()}
        elif isinstance(stage, Sized):
            work = stage.work()
        seconds = None
        if speeds is not None:
            seconds = USUAL_STAGE_S + (0.0 if work is None else speeds.seconds(work))
        stages[name] = Expected(
            work=work,
            seconds=seconds,
            peak_bytes=_peak(stage, known, shapes, gpu=gpu),
            disk_bytes=_disk(name, stage, known, shapes),
        )
    return Forecast(stages=stages, texts=known, shapes=shapes)


def _peak(
    stage: Stage, known: Known, shapes: Mapping[Ref, ModelShape], *, gpu: bool
) -> float | None:
    base = 0 if gpu else BASE_BYTES
    if isinstance(stage, Weighed):
        moments = stage.held(known)
    elif isinstance(stage, Tuning):
        moments = stage.tuning_held(None)
    else:
        opens = any(kind in WEIGHTS for i in inputs_of(stage) for kind in i.kinds)
        return None if opens or isinstance(stage, Sized) else float(base)
    found = peak_bytes(moments, shapes, gpu=gpu)
    return None if found is None else base + found


def _disk(name: str, stage: Stage, known: Known, shapes: Mapping[Ref, ModelShape]) -> float:
    """Of the outputs, and of a model's checkpoint while the stage is at work: the older one goes
    when the newer is complete, so for a moment there are two."""
    if isinstance(stage, LoadModel):  # hard links, where the cache is on the same disk
        return 0.0
    total = 0.0
    for output, kind in stage.outputs.items():
        ref = Ref(name, output)
        if kind in WEIGHTS and ref in shapes:
            total += HALF * shapes[ref].num_params
        elif ref in known:
            texts = known[ref]
            total += (
                TOKEN_BYTES
                * texts.num_rows
                * texts.per_row
                * (texts.prompt_tokens + texts.completion_tokens)
            )
    if isinstance(stage, RL) and stage.model in shapes:
        total += stage.num_snapshots * HALF * shapes[stage.model].num_params
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a stage of a run took."""

    seconds: float
    peak_bytes: float | None
    disk_bytes: float
    tokens: float
    """See `tokens`."""


def measured(run: Run) -> dict[str, Measured]:
    """The finished stages of a run."""
    return {
        record.name: Measured(
            seconds=record.seconds,
            peak_bytes=record.peak_bytes,
            disk_bytes=0.0
            if record.type == "load_model"
            else float(sum(a.num_bytes for a in record.artifacts.values())),
            tokens=sum(
                value
                for kind, value in record.tallies()["spent"].items()
                if kind != "scored_tokens"
            ),
        )
        for record in run.stages()
        if record.finished
    }


def tokens(work: Work | None) -> float:
    """Sampled and trained: of those that are read only, runs count what a model scored, not the
    prompts that it was given."""
    return 0.0 if work is None else work.sampled_tokens + work.trained_tokens
