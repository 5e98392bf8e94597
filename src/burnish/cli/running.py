"""Commands that run recipes: quickstart, run, resume."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.terminal import cache_dir, say, screen
from burnish.errors import BurnishError, ConfigError, Interrupted

if TYPE_CHECKING:  # importing these takes longer than `burnish --help` may
    from burnish.pipeline.budget import Plan, Speeds
    from burnish.pipeline.recipe import Recipe

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value: --set sft.lr=1e-4. May be given repeatedly."),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="Cut steps so that the run takes about this long: 8m, 1h30m; all: cut none.",
        show_default="the recipe's, or all",
    ),
]
ALL = "all"
KEPT = 1 / 3
"""The share of steps that stays where a recipe's own budget leaves less: it is meant for machines
that its author did not see."""
SeedOption = Annotated[int | None, typer.Option(help="Seed of all randomness.")]
OutOption = Annotated[
    Path | None, typer.Option(help="Directory of the run.", show_default="runs/NAME")
]
UntilOption = Annotated[str | None, typer.Option(help="Stop after this stage.")]
OnlyOption = Annotated[str | None, typer.Option(help="Run this stage alone.")]
DeviceOption = Annotated[
    str,
    typer.Option(help="Where models compute: cpu, cuda (a GPU), or auto, a GPU if there is one."),
]
VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Trust finished stages by checksum, not by size.")
]


def quickstart(
    out: OutOption = None,
    budget: BudgetOption = None,
    assignments: SetOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Take a small model through the whole pipeline, and write a report."""
    from burnish.cli.recipes import load_recipe

    recipe = load_recipe("quickstart", assignments)
    run_dir = out or Path("runs") / recipe.name
    carry_out(recipe, run_dir, device=device, budget=budget)
    say(f"\nlook at it     {run_dir / 'report.html'}")
    say(f"see the graph  burnish show {run_dir / 'recipe.yaml'}")
    say("go further     burnish recipes")


def run(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name, or a YAML file.")],
    out: OutOption = None,
    assignments: SetOption = None,
    budget: BudgetOption = None,
    seed: SeedOption = None,
    until: UntilOption = None,
    only: OnlyOption = None,
    verify: VerifyOption = False,
    device: DeviceOption = "cpu",
) -> None:
    """Run a recipe. On an existing run, redo only what changed."""
    from burnish.cli.recipes import load_recipe

    overrides = [*(assignments or []), *([] if seed is None else [f"seed={seed}"])]
    loaded = load_recipe(recipe, overrides)
    run_dir = out or Path("runs") / loaded.name
    carry_out(loaded, run_dir, device=device, budget=budget, until=until, only=only, verify=verify)


def resume(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of the run.")],
    until: UntilOption = None,
    only: OnlyOption = None,
    verify: VerifyOption = False,
    device: DeviceOption = "cpu",
) -> None:
    """Go on with a run that was stopped, with the recipe it was started with."""
    from burnish.cli.recipes import load_recipe
    from burnish.pipeline.run import Run

    Run.open(run_dir)
    loaded = load_recipe(str(run_dir / "recipe.yaml"))  # what was settled: it has no budget
    carry_out(loaded, run_dir, device=device, until=until, only=only, verify=verify)


def carry_out(
    recipe: "Recipe",
    run_dir: Path,
    *,
    device: str,
    budget: str | None = None,
    until: str | None = None,
    only: str | None = None,
    verify: bool = False,
) -> bool:
    """Fit, execute, report; False where stages are left to do."""
    from burnish.models.device import chosen
    from burnish.pipeline.executor import execute
    from burnish.stages.report import write_report

    device = chosen(device)
    recipe, expected_s = _fit(recipe, run_dir, budget, device)
    try:
        done = execute(
            recipe,
            run_dir,
            cache=cache_dir(),
            screen=screen(),
            expected_s=expected_s,
            until=until,
            only=only,
            verify=verify,
            device=device,
            secret=os.environ.get,
        )
    except Interrupted as error:
        say(f"stopped; go on with: burnish resume {run_dir}")
        raise typer.Exit(error.exit_code) from error
    except BurnishError:
        if (run_dir / "recipe.yaml").exists():
            say(f"finished stages are kept in {run_dir}; go on with: burnish resume {run_dir}")
        raise
    if done.finished():
        say(f"report: {write_report(run_dir)}")
    else:
        say(f"the rest: burnish resume {run_dir}")
    return done.finished()


def _fit(
    recipe: "Recipe", run_dir: Path, budget: str | None, device: str
) -> "tuple[Recipe, Mapping[str, float]]":
    """The recipe cut to its budget, and the seconds that each stage should take.

    The first start settles how much is cut. A later one measures other speeds or changes a value,
    and must not redo the whole run for that.
    """
    from burnish.cli.speed import known, model_of, speeds
    from burnish.pipeline.budget import estimate, scaled, share
    from burnish.pipeline.files import read_json, write_json
    from burnish.pipeline.progress import duration
    from burnish.pipeline.run import locked
    from burnish.pipeline.span import parse_span

    asked = recipe.budget if budget is None else budget
    if not estimable(recipe):
        if asked not in ("", ALL):
            raise ConfigError(f"no stage of {recipe.name} can be cut; leave --budget out")
        return recipe, {}
    model = model_of(recipe, cache_dir())
    before = known(cache_dir(), model, device)
    if asked in ("", ALL):
        return recipe, {} if before is None else estimate(recipe, before)
    settled = {"recipe": recipe.name, "budget_s": parse_span(asked)}
    path = run_dir / "budget.json"
    earlier = read_json(path) or {}
    if settled.items() <= earlier.items():
        fitted = scaled(recipe, float(earlier["factor"]))
        return fitted, {} if before is None else estimate(fitted, before)
    say("timing this machine, to fit the budget")
    fitted, plan = cut(recipe, speeds(cache_dir(), model, device), budget)
    with locked(run_dir):
        write_json(path, settled | {"factor": plan.factor})
    say(f"{recipe.name} {share(plan.factor)}: about {duration(plan.total_s)} here")
    return fitted, plan.expected_s


def cut(recipe: "Recipe", speeds: "Speeds", budget: str | None) -> "tuple[Recipe, Plan]":
    """The recipe within the budget that was asked for, or else within its own."""
    from burnish.pipeline.budget import fit
    from burnish.pipeline.progress import duration
    from burnish.pipeline.span import parse_span

    budget_s = parse_span(recipe.budget if budget is None else budget)
    fitted, plan = fit(recipe, speeds, budget_s, keep=KEPT if budget is None else 0.0)
    if plan.total_s > budget_s:
        say(f"in {duration(budget_s)} it would have less than {KEPT:.0%} of its steps here")
    return fitted, plan


def estimable(recipe: "Recipe") -> bool:
    """Whether any stage knows its work."""
    from burnish.pipeline.stage import Sized

    return any(isinstance(stage, Sized) for stage in recipe.stages.values())
