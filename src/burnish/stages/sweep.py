"""A grid of variants of one recipe: what varies, where each variant's run lies, what came out."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from burnish.config import require, suggest
from burnish.errors import ConfigError, RunError
from burnish.pipeline.files import read_json, write_json
from burnish.pipeline.recipe import Recipe, dump
from burnish.pipeline.run import Run
from burnish.stages.report_files import Row, RunFiles, read_run

DEFINITION = "variants.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9.=_-]+")
COLUMNS = ("accuracy", "score", "tokens", "proxy", "kl")
"""What is averaged over the rows of an evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A key, and the values it takes."""

    key: str
    values: tuple[str, ...]
    """As text that `--set` understands."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `key=a,b,c`. Raises: ConfigError."""
        key, sign, listed = text.partition("=")
        try:
            values = yaml.safe_load(f"[{listed}]")
        except yaml.YAMLError as error:
            raise ConfigError(f"--over {text}: the values are not valid YAML") from error
        if not sign or not key.strip() or not values or None in values:
            raise ConfigError(f"--over {text}: write it as --over stage.key=1,2,5")
        words = tuple(v if isinstance(v, str) else json.dumps(v) for v in values)
        if len(set(words)) < len(words):
            raise ConfigError(f"--over {text}: a value is given twice")
        return cls(key=key.strip().removeprefix("stages."), values=words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One point of the grid under one seed."""

    settings: Mapping[str, str]
    seed: int
    folder: str
    """Below the sweep's directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A whole grid, as variants.json holds it."""

    name: str
    axes: tuple[Axis, ...]
    variants: tuple[Variant, ...]
    metrics: tuple[str, ...]
    """Full names; () until the first variant has shown which there are."""

    def save(self, folder: Path) -> None:
        write_json(folder / DEFINITION, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises: RunError, where there is none."""
        raw = read_json(folder / DEFINITION)
        if raw is None:
            raise RunError(f"{folder}: no sweep here (no {DEFINITION})")
        try:
            return cls(
                name=raw["name"],
                axes=tuple(Axis(key=a["key"], values=tuple(a["values"])) for a in raw["axes"]),
                variants=tuple(Variant(**v) for v in raw["variants"]),
                metrics=tuple(raw["metrics"]),
            )
        except (KeyError, TypeError) as error:
            raise RunError(f"{folder / DEFINITION}: damaged ({error!r}); sweep again") from error


Loader = Callable[[Sequence[str]], Recipe]
"""The recipe under overrides such as `sft.optim.lr=1e-5`."""


def grid(load: Loader, axes: Sequence[Axis], num_seeds: int) -> list[tuple[Variant, Recipe]]:
    """Every combination under every seed, each a recipe that was checked as a whole.

    Raises:
        ConfigError: a key or value that the recipe does not take, or an axis given twice.
    """
    require(num_seeds >= 1, "seeds must be at least 1")
    require(bool(axes), "nothing varies: give --over key=a,b")
    keys = [axis.key for axis in axes]
    for key in keys:
        require(keys.count(key) == 1, f"--over {key}: given twice; list its values together")
        require(key != "seed", "--over seed: use --seeds, which averages over them")
    first = load([]).seed
    out = []
    for values in itertools.product(*(axis.values for axis in axes)):
        settings = dict(zip(keys, values, strict=True))
        given = [f"{key}={value}" for key, value in settings.items()]
        for seed in range(first, first + num_seeds):
            try:
                recipe = load([*given, f"seed={seed}"])
            except ConfigError as error:
                raise ConfigError(str(error).replace("--set", "--over")) from error
            out.append((Variant(settings=settings, seed=seed, folder=_folder(given, seed)), recipe))
    return out


def _folder(given: Sequence[str], seed: int) -> str:
    """Readable, safe, and the same for the same settings whatever else is in the grid."""
    words = [
        text.rpartition("=")[0].rpartition(".")[2] + "=" + text.rpartition("=")[2] for text in given
    ]
    readable = _UNSAFE.sub("_", ",".join(words))[:60]
    digest = hashlib.sha256(json.dumps([*sorted(given), seed]).encode()).hexdigest()[:6]
    return f"variants/{readable}-seed={seed}-{digest}"


def fingerprint(recipes: Sequence[Recipe]) -> str:
    """Of a whole grid: what a budget was settled for."""
    return hashlib.sha256("".join(map(dump, recipes)).encode()).hexdigest()


def available(run: RunFiles) -> dict[str, tuple[float, str]]:
    """Every metric of a run: full name -> value and file.

    `stage.model.task.column` of evaluations, means over problems; `stage.metric` of training, the
    last value written.
    """
    found: dict[str, tuple[float, str]] = {}
    for stage, artifact in run.artifacts("scores"):
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in run.rows(artifact.path):
            if "model" in row and "task" in row:
                groups.setdefault((str(row["model"]), str(row["task"])), []).append(row)
        for (model, task), rows in groups.items():
            for column in COLUMNS:
                value = _mean(rows, column)
                if value is not None:
                    found[f"{stage.name}.{model}.{task}.{column}"] = value, artifact.path
    for stage in run.stages:
        for row in stage.metrics:
            found |= {
                f"{stage.name}.{key}": (float(value), stage.path("metrics.jsonl"))
                for key, value in row.items()
                if key != "step" and isinstance(value, int | float) and math.isfinite(value)
            }
    return found


def _mean(rows: Sequence[Row], column: str) -> float | None:
    key = "passed" if column == "accuracy" else column
    values = [float(v) for row in rows if (v := row.get(key)) is not None]
    values = [v for v in values if math.isfinite(v)]
    return sum(values) / len(values) if values else None


def chosen(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Full names of the metrics asked for, each by its name or the beginning of it; by default the
    accuracy, else the score, of every model and task.

    Raises:
        ConfigError: none is called so, or several are.
    """
    if not wanted:
        usual = [n for n in known if n.endswith(".accuracy")]
        usual += [
            n
            for n in known
            if n.endswith(".score") and n.removesuffix("score") + "accuracy" not in known
        ]
        if not usual:
            raise ConfigError(f"the recipe evaluates nothing; give --metric: {suggest('', known)}")
        return tuple(usual)
    return tuple(dict.fromkeys(_one(name, known) for name in wanted))


def _one(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    fits = [n for n in known if n.startswith(f"{name}.")]
    headline = [n for n in fits if n.endswith(".accuracy")] or [
        n for n in fits if n.endswith(".score")
    ]
    fits = headline or fits
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ConfigError(f"--metric {name}: several begin so; choose {', '.join(fits)}")
    raise ConfigError(f"--metric {name}: no such metric; {suggest(name, known)}")


def check_stages(wanted: Sequence[str], recipe: Recipe) -> None:
    """Refuse metrics of stages that are not there, before anything runs. Raises: ConfigError."""
    for name in wanted:
        stage = name.partition(".")[0]
        if stage not in recipe.stages:
            raise ConfigError(
                f"--metric {name}: no stage `{stage}`; {suggest(stage, recipe.stages)}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One metric of one finished variant."""

    variant: Variant
    value: float
    source: str
    """Below the sweep's directory."""


def points(sweep: Sweep, folder: Path) -> dict[str, list[Point]]:
    """Metric -> the points of all variants that have it, in the grid's order."""
    out: dict[str, list[Point]] = {metric: [] for metric in sweep.metrics}
    for variant in sweep.variants:
        if not is_finished(folder / variant.folder):
            continue
        found = available(read_run(folder / variant.folder))
        for metric in sweep.metrics:
            if metric in found:
                value, source = found[metric]
                out[metric].append(
                    Point(variant=variant, value=value, source=f"{variant.folder}/{source}")
                )
    return out


def is_finished(run_dir: Path) -> bool:
    """Whether a variant's run is there and whole."""
    return (run_dir / "recipe.yaml").is_file() and Run.open(run_dir).finished()


def settings_text(settings: Mapping[str, Any]) -> str:
    """For people: `sft.optim.lr = 1e-5, rl.group_size = 8`."""
    return ", ".join(f"{key} = {value}" for key, value in settings.items())
