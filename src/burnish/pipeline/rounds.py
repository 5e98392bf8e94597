"""Blocks in a recipe: stages repeated, in rounds that go on from one another, or with other seeds.

    improve:
      rounds: 3
      start: {model: sft.model}     # what `carried.model` is in the first round
      carry: {model: tune.model}    # and what it becomes after each
      stages:
        draw: {stage: sample, model: carried.model, ...}
        keep: {stage: reject, completions: draw.completions, earlier: past.draw.completions}
        tune: {stage: sft, model: carried.model, data: [keep.best], ...}

    paths:
      seeds: 3                      # no carry: each time from the same start
      stages:
        tune: {stage: sft, model: base.model, ...}

Blocks are written out while YAML is read, into plain stages `improve_1_draw`, `improve_1_keep`, and
so on, or `paths_s1_tune`: runs, keys and reports know nothing of blocks, and one more round or seed
changes none of those before it. Streams follow the names of stages, so that each seed draws anew.
In Python a loop does the same. There are no blocks inside blocks.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import yaml

from burnish.config import Lines, build, fail, require, suggest
from burnish.errors import ConfigError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.scope import CARRIED, PAST, Scope

MOST_ROUNDS = MOST_SEEDS = 99


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """A block as YAML has it; outside of it, `block.X` is what X was after the last round."""

    times: ClassVar[str] = "rounds"

    rounds: int
    start: dict[str, Ref]
    """X -> the output of a stage outside that `carried.X` is in the first round."""
    carry: dict[str, Ref]
    """X -> the output of a stage of the block that `carried.X` is in the next round."""
    stages: dict[str, Any]
    """Here `past.STAGE.OUTPUT` is the list of that output of all earlier rounds."""

    def __post_init__(self) -> None:
        require(
            1 <= self.rounds <= MOST_ROUNDS,
            f"rounds must be from 1 to {MOST_ROUNDS} (got {self.rounds})",
        )
        require(bool(self.stages), "stages: a block of rounds needs at least one")
        require(bool(self.carry), "carry must name what a round hands to the next")
        for name in self.start.keys() ^ self.carry.keys():
            one, other = ("start", "carry") if name in self.start else ("carry", "start")
            raise ConfigError(f"{one} has `{name}` and {other} has not; they need the same keys")
        for ref in self.carry.values():
            hint = suggest(ref.stage, self.stages)
            known = ref.stage in self.stages
            require(known, f"carry names `{ref.stage}`, which is no stage of the block; {hint}")

    def prefixes(self, name: str) -> list[str]:
        """What the names of its plain stages begin with, one a round."""
        return [f"{name}_{n}" for n in range(1, self.rounds + 1)]


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The same stages with other random streams. Outside of the block, `block.stage.output` stands
    for all of them: in a list, and in a mapping under the keys `key_s1`, `key_s2` and so on."""

    times: ClassVar[str] = "seeds"

    seeds: int
    stages: dict[str, Any]

    def __post_init__(self) -> None:
        require(
            1 <= self.seeds <= MOST_SEEDS,
            f"seeds must be from 1 to {MOST_SEEDS} (got {self.seeds})",
        )
        require(bool(self.stages), "stages: a block of seeds needs at least one")

    def prefixes(self, name: str) -> list[str]:
        """What the names of its plain stages begin with, one a seed."""
        return [f"{name}_s{n}" for n in range(1, self.seeds + 1)]


Block: TypeAlias = Rounds | Seeds


@dataclass(frozen=True, slots=True)
class Entry:
    """A plain stage: its body as it stands in the file, and what references in it mean."""

    name: str
    body: Any
    scope: Scope
    key: str
    """Where the file has it."""


@dataclass(frozen=True, slots=True)
class Flat:
    """The stages of a recipe once its blocks are written out."""

    entries: list[Entry]
    lines: Lines
    """Of plain stages too: where the block has them."""
    blocks: Mapping[str, Block]
    overrides: Sequence[str]
    """Those that are left once `rounds` and `seeds` are set."""

    def keys(self, key: str) -> list[str]:
        """What a dotted key stands for: `block.stage.field` for that of each time, else itself."""
        block, _, below = key.partition(".")
        stage = below.partition(".")[0]
        if block not in self.blocks or stage not in self.blocks[block].stages:
            return [key]
        return [f"{prefix}_{below}" for prefix in self.blocks[block].prefixes(block)]

    def sources(self, given: Mapping[str, str]) -> tuple[dict[str, str], Lines]:
        """Sources by plain keys, and their lines; what is said of one round goes before."""
        of_rounds = {plain: key for key in given for plain in self.keys(key) if plain != key}
        asked = of_rounds | {key: key for key in given if self.keys(key) == [key]}
        places = {f"sources.{k}": self.lines.of.get(f"sources.{o}", 1) for k, o in asked.items()}
        lines = replace(self.lines, of={**self.lines.of, **places})
        return {plain: given[key] for plain, key in asked.items()}, lines

    def assignments(self) -> list[str]:
        """The overrides, that of a block's stage as one for each round."""
        found = []
        for assignment in self.overrides:
            path, _, value = assignment.partition("=")
            key = path.strip().removeprefix("stages.")
            keys = self.keys(key)
            found += [assignment] if keys == [key] else [f"{k}={value}" for k in keys]
        return found


def flatten(stages: Mapping[Any, Any], lines: Lines, overrides: Sequence[str] = ()) -> Flat:
    """Write out the blocks among a recipe's stages; `overrides` may set `rounds` or `seeds`.

    Raises:
        ConfigError: a block is wrong, or a name is taken.
    """
    bodies = {str(name): body for name, body in stages.items()}
    blocks = {
        name: build(_kind(body), body, key=f"stages.{name}", lines=lines)
        for name, body in bodies.items()
        if _is_block(body)
    }
    left = [assignment for assignment in overrides if not _set_times(blocks, assignment)]
    _check_names(bodies, blocks, lines)
    last = {
        f"{name}.{x}": f"{name}_{block.rounds}_{ref}"
        for name, block in blocks.items()
        if isinstance(block, Rounds)
        for x, ref in block.carry.items()
    }
    seeded = {
        name: {stage: [f"{p}_{stage}" for p in block.prefixes(name)] for stage in block.stages}
        for name, block in blocks.items()
        if isinstance(block, Seeds)
    }
    closed = frozenset((CARRIED, PAST, *blocks) if blocks else ())
    outside = Scope(last, {}, None, closed, seeded)
    entries = [
        entry
        for name, body in bodies.items()
        for entry in (
            _written_out(name, blocks[name], outside, lines)
            if name in blocks
            else [Entry(name, body, outside, f"stages.{name}")]
        )
    ]
    places = dict(lines.of)
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            message = f"a block makes another stage `{entry.name}`; rename one of them"
            raise fail(entry.key, message, lines)
        seen.add(entry.name)
        places |= {
            f"stages.{entry.name}{place[len(entry.key) :]}": line
            for place, line in lines.of.items()
            if f"{place}.".startswith(f"{entry.key}.")
        }
    return Flat(entries, replace(lines, of=places), blocks, left)


def _written_out(name: str, block: Block, outside: Scope, lines: Lines) -> Iterator[Entry]:
    """The plain stages of a block."""
    if isinstance(block, Rounds):
        yield from _in_rounds(name, block, outside, lines)
        return
    others = {k: v for k, v in outside.seeded.items() if k != name}
    for prefix in block.prefixes(name):
        names = {stage: f"{prefix}_{stage}" for stage in block.stages}
        scope = replace(outside, names=names, seeded=others)
        for stage, body in block.stages.items():
            yield Entry(names[stage], body, scope, f"stages.{name}.stages.{stage}")


def _in_rounds(name: str, block: Rounds, outside: Scope, lines: Lines) -> Iterator[Entry]:
    elsewhere = {k: v for k, v in outside.refs.items() if k.partition(".")[0] != name}
    start = replace(outside, refs=elsewhere)
    carried = {
        f"{CARRIED}.{x}": start.value(Ref, str(ref), f"stages.{name}.start.{x}", lines)
        for x, ref in block.start.items()
    }
    past: list[dict[str, str]] = []
    for number in range(1, block.rounds + 1):
        names = {stage: f"{name}_{number}_{stage}" for stage in block.stages}
        scope = Scope(elsewhere | carried, names, tuple(past), outside.closed, outside.seeded)
        for stage, body in block.stages.items():
            yield Entry(names[stage], body, scope, f"stages.{name}.stages.{stage}")
        past.append(names)
        carried = {f"{CARRIED}.{x}": f"{name}_{number}_{ref}" for x, ref in block.carry.items()}


def _check_names(bodies: Mapping[str, Any], blocks: Mapping[str, Block], lines: Lines) -> None:
    named = {f"stages.{name}": name for name in bodies if blocks}
    for block_name, block in blocks.items():
        for stage, body in block.stages.items():
            key = f"stages.{block_name}.stages.{stage}"
            named[key] = stage
            if _is_block(body):
                raise fail(key, "blocks inside blocks are not possible: make one block", lines)
            if stage in bodies:
                message = f"there is a stage `{stage}` outside as well; rename one of them"
                raise fail(key, message, lines)
    for key, name in named.items():
        if name in (CARRIED, PAST):
            raise fail(key, f"`{name}` has a meaning of its own beside rounds; rename it", lines)


def _set_times(blocks: dict[str, Block], assignment: str) -> bool:
    """Carry out `block.rounds=N` or `block.seeds=N`; False for any other assignment."""
    path, _, value = assignment.partition("=")
    name, _, field = path.strip().removeprefix("stages.").partition(".")
    if name not in blocks or field != blocks[name].times:
        return False
    try:
        given = vars(blocks[name]) | {field: yaml.safe_load(value)}
        blocks[name] = build(type(blocks[name]), given, key=name)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: the value is not valid YAML") from error
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from error
    return True


def _is_block(body: Any) -> bool:
    """Whether an entry means to be a block, so that of a misspelt one the wrong key is named."""
    own = {field.name for kind in (Rounds, Seeds) for field in dataclasses.fields(kind)}
    return isinstance(body, Mapping) and "stage" not in body and bool(own & body.keys())


def _kind(body: Mapping[str, Any]) -> type[Block]:
    return Seeds if Seeds.times in body else Rounds
