"""Commands that look at recipes and runs, and fetch models: show, recipes, report, get."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.running import SetOption
from burnish.cli.terminal import cache_dir, complain, say

if TYPE_CHECKING:
    from burnish.pipeline.recipe import Recipe

LAPTOP = "-laptop"
"""Ends the name of a recipe that scales the one before it."""


def show(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe, a YAML file, or a run.")],
    assignments: SetOption = None,
) -> None:
    """Print a recipe's graph and every value, defaults included."""
    from burnish.cli.recipes import load_recipe
    from burnish.pipeline.recipe import dump, type_name
    from burnish.pipeline.wiring import inputs_of

    loaded = load_recipe(recipe, assignments)
    say(f"{loaded.name}: {loaded.description}" if loaded.description else loaded.name)
    for number, name in enumerate(loaded.order(), 1):
        stage = loaded.stages[name]
        say(f"{number:>3}  {name} ({type_name(stage)}) -> {', '.join(stage.outputs)}")
        reads = dict.fromkeys(str(item.ref) for item in inputs_of(stage))
        if reads:
            say(f"       from {', '.join(reads)}")
    say()
    say(dump(replace(loaded, sources={})).removesuffix("sources: {}\n").rstrip())
    _say_sources(loaded)


def _say_sources(recipe: "Recipe") -> None:
    """Where numbers come from, the doubtful ones in the first line."""
    from burnish.cli.recipe import alike, flat, short
    from burnish.cli.table import table
    from burnish.pipeline.recipe import full_keys, to_plain

    if not recipe.sources:
        return
    values, full = dict(flat(to_plain(recipe)["stages"])), full_keys(recipe)
    counts = Counter(source.status.replace("_", " ") for source in recipe.sources.values())
    say(f"\nsources: {', '.join(f'{n} {status}' for status, n in counts.most_common())}")
    rows: dict[str, list[str]] = {}
    for key, source in recipe.sources.items():
        status = source.status.replace("_", " ")
        rows[key] = [short(values.get(full[key], "")), source.unit, status, source.where]
    head = ["key", "value", "unit", "status", "source"]
    for line in table([head, *([key, *cells] for key, cells in alike(rows))]):
        say(line)


def recipes() -> None:
    """List the recipes that ship with Burnish."""
    from burnish.cli.recipes import packaged
    from burnish.config import read_yaml

    known = packaged()
    width = max(map(len, known), default=0)
    small = {name for name in known if name.removesuffix(LAPTOP) != name}
    full = {name.removesuffix(LAPTOP) for name in small}
    groups = {
        "of the literature, with the source of every number (docs/recipes.md)": full,
        "the same at the size of a laptop": small,
        "others": known.keys() - full - small,
    }
    for title, names in groups.items():
        say(f"{title}:")
        for name in sorted(names):
            description = str(read_yaml(known[name])[0].get("description", ""))
            say(f"  {name:<{width}}  {' '.join(description.split())}")
        say()


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run or sweep.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Only compare the report's numbers with the run's files."),
    ] = False,
) -> None:
    """Write the report of a run or sweep again, or check it against the files."""
    from burnish.pipeline.run import Run
    from burnish.stages.report import write_report
    from burnish.stages.report_check import check_report
    from burnish.stages.sweep import DEFINITION
    from burnish.stages.sweep_page import check_sweep, write_sweep

    swept = (run_dir / DEFINITION).is_file()
    if not swept:
        Run.open(run_dir)
    if not check:
        say(f"report: {(write_sweep if swept else write_report)(run_dir)}")
        return
    wrong = (check_sweep if swept else check_report)(run_dir)
    for line in wrong:
        complain(line)
    if wrong:
        raise typer.Exit(1)
    say("every number in the report is the one in the run's files")


def get(
    model: Annotated[str, typer.Argument(help="A model known by name, such as smollm2.")],
) -> None:
    """Fetch a model into the cache."""
    from burnish.models.get import get as fetch

    say(f"{model}: {fetch(model, cache_dir(), say)}")
