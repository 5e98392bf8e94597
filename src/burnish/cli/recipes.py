"""Finding recipes: packaged ones by name, others by path."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from burnish.config import suggest
from burnish.errors import ConfigError
from burnish.pipeline.recipe import Recipe, load
from burnish.stages import STAGES


def packaged() -> dict[str, Path]:
    """Name -> file of each recipe that ships with Burnish."""
    folder = Path(str(resources.files("burnish") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a recipe. Raises: ConfigError, if neither a packaged name nor a file."""
    path = Path(name)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.is_file():
        return path
    known = packaged()
    if name in known:
        return known[name]
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"{name}: no such file")
    raise ConfigError(f"no recipe `{name}`; {suggest(name, known)} (or give a YAML file)")


def load_recipe(name: str, assignments: Sequence[str] | None = None) -> Recipe:
    """A recipe by name or path, overridden and validated."""
    return load(find(name), STAGES, assignments or ())
