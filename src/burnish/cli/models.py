"""Finding a model on the command line: a run, a stage of a run, a directory, or a known name."""

from dataclasses import dataclass
from pathlib import Path

from burnish.cli.terminal import cache_dir
from burnish.errors import ConfigError, ModelError, RunError
from burnish.pipeline.run import Run, StageRecord

NOT_TRAINED = ("load_model", "over_optimisation")
"""Types of stages that fetch or pick the model that they put out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundModel:
    """A model directory, and the run it came from (None: it is from elsewhere)."""

    name: str
    """The stage that made it, or the name that was given."""
    path: Path
    run: Run | None = None
    others: tuple[str, ...] = ()
    """The run's other models, by stage."""


def find_model(given: str, stage: str | None = None) -> FoundModel:
    """The model that RUN, RUN:STAGE, a model directory or a known name stands for.

    Of a run without a stage it is the one trained last.

    Raises:
        ConfigError: a stage is asked of what is no run.
        RunError: the run has no such model, or none yet.
        ModelError: there is neither a run nor a model.
    """
    from burnish.models.get import KNOWN, locate

    path = Path(given).expanduser()
    head, colon, tail = given.rpartition(":")
    if colon and not path.exists() and _is_run(Path(head).expanduser()):
        path, stage = Path(head).expanduser(), stage or tail
    if _is_run(path):
        return _of_run(Run.open(path), stage)
    if stage is not None:
        raise ConfigError(f"{given} is no run, so it has no stage {stage}")
    if given not in KNOWN and path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(f"{given}: neither a run (recipe.yaml) nor a model (config.json) is there")
    return FoundModel(name=path.name or given, path=locate(given, cache_dir()))


def _is_run(path: Path) -> bool:
    return (path / "recipe.yaml").is_file()


def _of_run(run: Run, stage: str | None) -> FoundModel:
    made = {
        record.name: record
        for record in run.stages()
        if record.finished and any(a.kind == "model" for a in record.artifacts.values())
    }
    if not made:
        raise RunError(f"{run.dir}: no language model in this run yet; burnish resume {run.dir}")
    if stage is None:
        trained = [name for name, record in made.items() if record.type not in NOT_TRAINED]
        stage = (trained or list(made))[-1]
    if stage not in made:
        models = ", ".join(f"{name} ({record.type})" for name, record in made.items())
        raise RunError(f"{run.dir}: no model is made by {stage}; its models: {models}")
    return FoundModel(
        name=stage,
        path=run.dir / _model_of(made[stage]),
        run=run,
        others=tuple(name for name in made if name != stage),
    )


def _model_of(record: StageRecord) -> str:
    return next(a.path for a in record.artifacts.values() if a.kind == "model")
