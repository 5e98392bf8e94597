"""How many tokens a second this machine handles, for estimates of time and for budgets."""

from pathlib import Path

from burnish.errors import ConfigError, RunError
from burnish.pipeline.budget import Speeds
from burnish.pipeline.environment import cpu_name, usable_cores, versions
from burnish.pipeline.files import read_json, write_json
from burnish.pipeline.recipe import Recipe


def speeds(cache: Path, model: Path | None, device: str) -> Speeds:
    """Measured now, or before on this machine with this torch and model if that was faster.

    The better one counts because a measurement beside other programs only ever comes out slower.
    """
    now, before = measure(model, device), known(cache, model, device)
    best = now
    if before is not None:
        best = Speeds(
            sampled=max(now.sampled, before.sampled),
            trained=max(now.trained, before.trained),
            scored=max(now.scored, before.scored),
        )
    rates = {"sampled": best.sampled, "trained": best.trained, "scored": best.scored}
    write_json(_file(cache), {"machine": _machine(model, device)} | rates)
    return best


def known(cache: Path, model: Path | None, device: str) -> Speeds | None:
    """What was measured before on this machine with this model, if anything was."""
    try:
        found = read_json(_file(cache)) or {}
    except RunError:  # cut short or edited: it will be measured again
        return None
    if found.get("machine") != _machine(model, device):
        return None
    return Speeds(
        **{name: float(str(found.get(name, 0))) for name in ("sampled", "trained", "scored")}
    )


def measure(model: Path | None, device: str) -> Speeds:
    """Time the model itself. Raises: ConfigError, where the recipe loads none."""
    if model is None:
        raise ConfigError("no load_model stage: there is no model to time; leave --budget out")
    from burnish.engine.pace import measure_pace

    return measure_pace(model, device)


def model_of(recipe: Recipe, cache: Path) -> Path | None:
    """The model that the recipe starts from. Raises: ModelError, where it was not fetched yet."""
    from burnish.models.get import locate
    from burnish.stages.load import LoadModel

    for stage in recipe.stages.values():
        if isinstance(stage, LoadModel):
            return locate(stage.name, cache)
    return None


def _file(cache: Path) -> Path:
    return cache / "speeds.json"


def _machine(model: Path | None, device: str) -> str:
    name = model.name if model else "no model"
    cores = f"{usable_cores()} cores" if device == "cpu" else device
    return f"{cpu_name()}, {cores}, torch {versions().get('torch')}, {name}"
