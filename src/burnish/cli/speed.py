"""How many tokens a second this machine handles, for estimates of time and for budgets."""

from dataclasses import asdict, fields
from pathlib import Path

from burnish.errors import ConfigError, RunError
from burnish.pipeline.budget import Speeds
from burnish.pipeline.environment import cpu_name, usable_cores, versions
from burnish.pipeline.files import read_json, write_json
from burnish.pipeline.recipe import Recipe

MANY_ROWS, MANY_TOKENS = 64, 1024
"""A usual step of sampling, and of training."""


def speeds(cache: Path, model: Path | None, device: str) -> Speeds:
    """Measured now, or before on this machine with this torch and model if that was faster.

    The better one counts because a measurement beside other programs only ever comes out slower.
    """
    now, before = measure(model, device), known(cache, model, device)
    best = now if before is None else _better(now, before)
    write_json(_file(cache), {"machine": _machine(model, device)} | asdict(best))
    return best


def _better(a: Speeds, b: Speeds) -> Speeds:
    """The quicker of each pair: rates and their seconds go together, or their sum is neither's."""
    sampling, training = (
        min((a, b), key=lambda s: s.decode_s + MANY_ROWS / s.sampled),
        min((a, b), key=lambda s: s.step_s + MANY_TOKENS / s.trained),
    )
    return Speeds(
        sampled=sampling.sampled,
        decode_s=sampling.decode_s,
        trained=training.trained,
        step_s=training.step_s,
        first_s=min(a.first_s, b.first_s),
        scored=max(a.scored, b.scored),
        open_s=min(a.open_s, b.open_s),
    )


def known(cache: Path, model: Path | None, device: str) -> Speeds | None:
    """What was measured before on this machine with this model, if anything was."""
    try:
        found = read_json(_file(cache)) or {}
    except RunError:  # cut short or edited: it will be measured again
        return None
    names = [field.name for field in fields(Speeds)]
    if found.get("machine") != _machine(model, device) or not all(n in found for n in names):
        return None
    return Speeds(**{name: float(str(found[name])) for name in names})


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
