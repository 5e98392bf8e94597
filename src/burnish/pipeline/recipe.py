"""A recipe: named stages that feed one another, from a YAML file or built in Python.

Both forms give the same object, and it is checked as a whole before anything runs. A stage's key
is a hash of all that its outputs depend on; a run redoes exactly the stages whose key changed.
"""

import hashlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from burnish.config import NO_LINES, Lines, build, fail, override, plain, read_yaml, snake, suggest
from burnish.errors import ConfigError
from burnish.pipeline.artifact import KINDS, Ref
from burnish.pipeline.rounds import flatten
from burnish.pipeline.scope import Scope
from burnish.pipeline.source import SET, Source
from burnish.pipeline.span import is_span
from burnish.pipeline.stage import Fingerprinted, Stage, Versioned
from burnish.pipeline.wiring import Input, inputs_of

TOP_KEYS = ("name", "description", "seed", "budget", "stages", "sources")
TOP_VALUES = ("name", "description", "seed", "budget")
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")
_RECIPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # it names a directory

Registry = Mapping[str, str]
"""A stage's type name in YAML (its class name in snake case) -> "module:Class"."""


class Handle:
    """A stage within a recipe under construction: `handle.model` is a reference to that output."""

    def __init__(self, name: str, stage: Stage) -> None:
        self._name, self._stage = name, stage

    def __getattr__(self, output: str) -> Ref:
        outputs = self._stage.outputs
        if output.startswith("__"):
            raise AttributeError(output)
        if output not in outputs:
            raise ConfigError(
                f"stage {self._name} has no output `{output}`; {suggest(output, outputs)}"
            )
        return Ref(self._name, output)


@dataclass(kw_only=True)
class Recipe:
    """Stages by name. `sources` says where numbers come from: dotted key -> source. `budget` is how
    long a run should take where its start does not say: 8m, 1h30m (see `pipeline.budget`)."""

    name: str
    description: str = ""
    seed: int = 0
    budget: str = ""
    stages: dict[str, Stage] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def add(self, name: str, stage: Stage) -> Handle:
        """Add a stage; the handle's attributes are references to its outputs.

        Raises:
            ConfigError: the name is taken or is not a plain word.
        """
        if name in self.stages:
            raise ConfigError(f"stage {name} is there already; choose another name")
        _check_name(name, f"stages.{name}", NO_LINES)
        self.stages[name] = stage
        return Handle(name, stage)

    def order(self) -> list[str]:
        """Stage names, each after all that it reads, else in the recipe's order.

        Raises:
            ConfigError: stages feed one another in a circle.
        """
        waits = {
            name: {i.ref.stage for i in inputs_of(stage)} & self.stages.keys()
            for name, stage in self.stages.items()
        }
        done: list[str] = []
        while len(done) < len(waits):
            ready = [n for n, needs in waits.items() if n not in done and needs <= set(done)]
            if not ready:
                circle = ", ".join(n for n in waits if n not in done)
                raise ConfigError(f"stages feed one another in a circle: {circle}")
            done.append(ready[0])
        return done

    def upstream(self, name: str) -> set[str]:
        """The stages that one depends on, directly or through others."""
        found: set[str] = set()
        frontier = [name]
        while frontier:
            for item in inputs_of(self.stages[frontier.pop()]):
                if item.ref.stage not in found:
                    found.add(item.ref.stage)
                    frontier.append(item.ref.stage)
        return found

    def validate(self, lines: Lines = NO_LINES) -> None:
        """Check everything that can be known before running.

        Raises:
            ConfigError: an unknown stage or output is referred to, kinds do not match, stages form
                a circle, or a source is given for a key that is not there.
        """
        if not _RECIPE_NAME.fullmatch(self.name):
            raise fail("name", "a recipe's name is 1 to 80 of A-Z, a-z, 0-9, ., _ and -", lines)
        if not self.stages:
            raise fail("stages", "a recipe needs at least one stage", lines)
        if not 0 <= self.seed < 2**63:
            raise fail("seed", "must be from 0 to 2**63 - 1", lines)
        if self.budget and not is_span(self.budget):
            raise fail("budget", "must be a span of time, such as 90s, 8m or 1h30m", lines)
        for name, stage in self.stages.items():
            for item in inputs_of(stage):
                self._check_input(name, item, lines)
        self.order()
        known = full_keys(self)
        for key in self.sources:
            if key not in known:
                raise fail(f"sources.{key}", f"no such key; {suggest(key, known)}", lines)

    def _check_input(self, name: str, item: Input, lines: Lines) -> None:
        key, ref = f"stages.{name}.{item.field}", item.ref
        if ref.stage not in self.stages:
            raise fail(key, f"no stage `{ref.stage}`; {suggest(ref.stage, self.stages)}", lines)
        outputs = self.stages[ref.stage].outputs
        if ref.output not in outputs:
            hint = suggest(ref.output, outputs) if outputs else "it has no outputs"
            raise fail(key, f"stage {ref.stage} has no output `{ref.output}`; {hint}", lines)
        if item.kinds and outputs[ref.output] not in item.kinds:
            wanted, got = " or ".join(item.kinds), outputs[ref.output]
            raise fail(key, f"wants {wanted}, but {ref} is of kind {got}", lines)

    def keys(self) -> dict[str, str]:
        """Stage name -> hash of all that its outputs depend on, those it reads included."""
        keys: dict[str, str] = {}
        for name in self.order():
            stage = self.stages[name]
            content = {
                "name": name,  # random streams follow the name
                "type": type_name(stage),
                "config": plain(stage),
                "inputs": {i.field: keys[i.ref.stage] for i in inputs_of(stage)},
                "seed": self.seed,
                "version": stage.version if isinstance(stage, Versioned) else 0,
                "fingerprint": stage.fingerprint() if isinstance(stage, Fingerprinted) else "",
            }
            text = json.dumps(content, sort_keys=True, ensure_ascii=False)
            keys[name] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return keys


def type_name(stage: Stage) -> str:
    """What YAML calls the stage's class."""
    return snake(type(stage).__name__)


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, every default written out."""
    stages = {n: {"stage": type_name(s)} | plain(s) for n, s in recipe.stages.items()}
    return {
        "name": recipe.name,
        "description": recipe.description,
        "seed": recipe.seed,
        **({"budget": recipe.budget} if recipe.budget else {}),
        "stages": stages,
        "sources": plain(recipe.sources),
    }


def full_keys(recipe: Recipe) -> dict[str, str]:
    """Every dotted key of the stages -> its full form, the names of choices written out."""
    return dotted(to_plain(recipe)["stages"])


def dump(recipe: Recipe) -> str:
    """The recipe as YAML; `load` of it gives an equal recipe."""
    return yaml.safe_dump(to_plain(recipe), sort_keys=False, allow_unicode=True, width=100)


def load(path: Path, registry: Registry, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override (`sft.lr=1e-4`, `seed=3`), build and validate a recipe.

    Blocks of rounds are written out into plain stages (see `pipeline.rounds`).

    Raises:
        ConfigError: with file:line and key, for anything that is wrong with it.
    """
    raw, lines = read_yaml(path)
    for key in raw:
        if key not in TOP_KEYS:
            raise fail(str(key), f"unknown key; {suggest(str(key), TOP_KEYS)}", lines)
    stages = raw.get("stages") or {}
    if not isinstance(stages, Mapping):
        raise fail("stages", "must be a mapping of names to stages", lines)
    recipe = build(
        Recipe, {k: v for k, v in raw.items() if k != "stages"} | {"stages": {}}, lines=lines
    )
    flat = flatten(stages, lines, overrides)
    recipe.sources, lines = flat.sources(recipe.sources)
    for entry in flat.entries:
        key = f"stages.{entry.name}"
        _check_name(entry.name, key, lines)
        recipe.stages[entry.name] = _stage(entry.body, key, registry, lines, entry.scope)
    recipe.validate(lines)
    for assignment in flat.assignments():
        _assign(recipe, assignment)
        _resource(recipe, assignment)
    if overrides:
        try:
            recipe.validate()
        except ConfigError as error:
            raise ConfigError(f"--set {' '.join(overrides)}: {error}") from error
    return recipe


def _stage(body: Any, key: str, registry: Registry, lines: Lines, scope: Scope) -> Stage:
    if not isinstance(body, Mapping) or not isinstance(body.get("stage"), str):
        raise fail(key, f"must be a mapping with `stage: TYPE`; {suggest('', registry)}", lines)
    kind = body["stage"]
    if kind not in registry:
        raise fail(f"{key}.stage", f"no stage type `{kind}`; {suggest(kind, registry)}", lines)
    module, _, name = registry[kind].partition(":")
    cls = vars(importlib.import_module(module))[name]
    assert snake(cls.__name__) == kind, f"{cls.__name__} must be registered as {snake(name)}"
    own = scope.fields(cls, {k: v for k, v in body.items() if k != "stage"}, key, lines)
    stage: Stage = build(cls, own, key=key, lines=lines)
    assert all(k in KINDS for k in stage.outputs.values()), f"{cls.__name__}: unknown kind"
    return stage


def _assign(recipe: Recipe, assignment: str) -> None:
    """Override one value of the built recipe, so that defaults can be reached into as well."""
    path = assignment.partition("=")[0].strip().removeprefix("stages.")
    name, _, field_path = path.partition(".")
    if path in TOP_VALUES:
        top = {key: vars(recipe)[key] for key in TOP_VALUES}
        try:
            changed = build(Recipe, override(top, [assignment]))
        except ConfigError as error:
            raise ConfigError(f"--set {assignment}: {error}") from error
        vars(recipe).update({key: vars(changed)[key] for key in TOP_VALUES})
        return
    if name not in recipe.stages or not field_path:
        known = [*recipe.stages, *TOP_VALUES]
        raise ConfigError(
            f"--set {assignment}: no stage `{name}`; {suggest(name, known)}"
            if field_path
            else f"--set {assignment}: write it as --set stage.key=value; {suggest(name, known)}"
        )
    stage = recipe.stages[name]
    raw = override({name: plain(stage)}, [assignment.strip().removeprefix("stages.")])
    try:
        recipe.stages[name] = build(type(stage), raw[name], key=name)
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from error


def _resource(recipe: Recipe, assignment: str) -> None:
    """Keep `sources` true after an override: it is the new source, and keys may be gone."""
    key = assignment.partition("=")[0].strip().removeprefix("stages.")
    known = full_keys(recipe)
    full = known.get(key)
    kept = {k: v for k, v in recipe.sources.items() if known.get(k, full) != full}
    recipe.sources = kept | ({key: SET} if key in known else {})


def _check_name(name: str, key: str, lines: Lines) -> None:
    if not _NAME.fullmatch(name) or name in TOP_KEYS:
        message = "a stage's name is 1 to 40 of a-z, 0-9 and _, and none of " + ", ".join(TOP_KEYS)
        raise fail(key, message, lines)


def dotted(value: Any, prefix: str = "", short: str = "") -> dict[str, str]:
    """Every dotted key -> its full form; the name of a union's one-key form may be left out."""
    keys = {prefix: prefix, short: prefix} if prefix else {}
    named = dict(enumerate(value)) if isinstance(value, list) else value
    for name, below in named.items() if isinstance(named, Mapping) else ():
        inner = f"{prefix}.{name}" if prefix else str(name)
        one_key = len(named) == 1 and isinstance(below, Mapping) and short
        keys |= dotted(below, inner, short if one_key else f"{short}.{name}" if short else inner)
    return keys
