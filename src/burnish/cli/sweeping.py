"""`burnish sweep`: variants of one recipe side by side, what they share computed once."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.running import ALL, BudgetOption, DeviceOption, SetOption
from burnish.cli.terminal import cache_dir, say, screen
from burnish.errors import Interrupted

if TYPE_CHECKING:  # importing these takes longer than `burnish --help` may
    from burnish.pipeline.recipe import Recipe
    from burnish.stages.sweep import Variant


def sweep(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name, or a YAML file.")],
    over: Annotated[
        list[str], typer.Option(help="What varies: --over sft.optim.lr=1e-5,5e-5. Repeatable.")
    ],
    seeds: Annotated[int, typer.Option(help="Runs of each setting, under seeds that follow.")] = 1,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What is shown, such as evaluate.sft; by default every evaluation."),
    ] = None,
    assignments: SetOption = None,
    budget: BudgetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory.", show_default="runs/sweep-NAME")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Run variants of a recipe, and show them in one table and one figure. Resumes if run again."""
    from burnish.cli.recipes import load_recipe
    from burnish.models.device import chosen
    from burnish.pipeline.executor import execute
    from burnish.pipeline.share import take_over
    from burnish.stages.report_files import read_run
    from burnish.stages.sweep import Axis, Sweep, available, check_stages, grid
    from burnish.stages.sweep import chosen as chosen_metrics
    from burnish.stages.sweep_page import write_sweep

    wanted, device = metric or [], chosen(device)
    axes = tuple(Axis.parse(text) for text in over)
    made = grid(lambda own: load_recipe(recipe, [*(assignments or []), *own]), axes, seeds)
    check_stages(wanted, made[0][1])
    folder = out or Path("runs") / f"sweep-{made[0][1].name}"
    folder.mkdir(parents=True, exist_ok=True)
    made = _fit(made, folder, budget, device)
    variants = tuple(variant for variant, _ in made)
    names: tuple[str, ...] = ()
    for number, (variant, own) in enumerate(made, 1):
        run_dir = folder / variant.folder
        others = [folder / v.folder for v in variants if v is not variant]
        shared = take_over(own, run_dir, others)
        at = f"variant {number} of {len(made)}: {', '.join(variant.settings.values())}"
        say(f"{at}, seed {variant.seed}" + (f" (shares {', '.join(shared)})" if shared else ""))
        try:
            execute(
                own,
                run_dir,
                cache=cache_dir(),
                screen=screen(),
                device=device,
                secret=os.environ.get,
            )
        except Interrupted as error:
            say("stopped; go on with the same command")
            raise typer.Exit(error.exit_code) from error
        if not names:
            names = chosen_metrics(wanted, list(available(read_run(run_dir))))
        Sweep(name=own.name, axes=axes, variants=variants, metrics=names).save(folder)
        write_sweep(folder)
    _say_table(folder)
    say(f"sweep: {folder / 'sweep.html'}")


def _fit(
    made: "Sequence[tuple[Variant, Recipe]]", folder: Path, budget: str | None, device: str
) -> "list[tuple[Variant, Recipe]]":
    """Each variant cut to the budget by one factor, that of the longest: so they stay comparable,
    and what they share stays shared. It is settled when the sweep first starts."""
    from burnish.cli.speed import model_of, speeds
    from burnish.pipeline.budget import fit, scaled
    from burnish.pipeline.files import read_json, write_json
    from burnish.pipeline.span import parse_span
    from burnish.stages.sweep import fingerprint

    if budget is None or budget == ALL:
        return list(made)
    settled = {"recipes": fingerprint([r for _, r in made]), "budget_s": parse_span(budget)}
    path = folder / "budget.json"
    earlier = read_json(path) or {}
    if settled.items() <= earlier.items():
        factor = float(earlier["factor"])
    else:
        say("timing this machine, to fit the budget")
        measured = speeds(cache_dir(), model_of(made[0][1], cache_dir()), device)
        factor = min(fit(r, measured, parse_span(budget))[1].factor for _, r in made)
        write_json(path, settled | {"factor": factor})
    say(f"each variant with {factor:.0%} of its steps")
    return [(variant, scaled(recipe, max(factor, 1e-9))) for variant, recipe in made]


def _say_table(folder: Path) -> None:
    from burnish.cli.table import estimate, table
    from burnish.stages.sweep import Sweep, points, settings_text
    from burnish.stages.sweep_page import grouped

    definition = Sweep.read(folder)
    rows = [["metric", "setting", "mean", "95 % interval", "seeds"]]
    for metric, found in points(definition, folder).items():
        for setting in grouped(definition, found):
            text = settings_text(setting.points[0].variant.settings)
            rows.append([metric, text, *estimate(setting.interval), str(len(setting.points))])
    for line in table(rows):
        say(line)
