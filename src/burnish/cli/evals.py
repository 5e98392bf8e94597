"""`burnish eval`: how well a model does on problems, with intervals, alone or against another."""

from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.chat import ModelArgument, StageOption
from burnish.cli.running import DeviceOption, SeedOption
from burnish.cli.terminal import remark, say, screen
from burnish.errors import ConfigError, RunError


def evaluate(
    model: ModelArgument,
    stage: StageOption = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="sums, everyday, a stage of the run with held-out problems, or a file.",
        ),
    ] = "sums",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_OR_MODEL", help="Another model on the same problems; or a stage of RUN."
        ),
    ] = None,
    num: Annotated[int | None, typer.Option(help="The first so many problems.")] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest completion.")] = 64,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for scores.jsonl, one row a completion.")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Evaluate a model on held-out problems; with --against, also the paired difference."""
    from burnish.cli import evaluating
    from burnish.cli.models import find_model
    from burnish.data.store import write_rows
    from burnish.models.device import chosen
    from burnish.stages.sample import Draws

    device = chosen(device)
    draws = Draws(max_new_tokens=max_new_tokens, temperature=temperature)
    if num is not None and num < 1:
        raise ConfigError("--num must be at least 1")
    found = find_model(model, stage)
    models = {found.name: found}
    if against is not None:
        same_run = found.run is not None and against in found.others
        other = find_model(model, against) if same_run else find_model(against)
        if other.path == found.path:
            raise ConfigError(f"--against {against} is the same model")
        models[other.name if other.name != found.name else against] = other
    own = 0 if found.run is None else int(found.run.recipe.get("seed", 0))
    seed = own if seed is None else seed
    problems = evaluating.find_problems(task, found.run, seed)
    if num is not None and num > len(problems):
        remark(f"{task} has {len(problems)} problems, not {num}")
    rows = evaluating.evaluate(
        models, problems[:num], draws, seed=seed, screen=screen(remark), device=device
    )
    for line in evaluating.summary(rows, max_new_tokens):
        say(line)
    if out is not None:
        try:
            write_rows(out / "scores.jsonl", [row for found in rows.values() for row in found])
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror})") from error
        say(f"scores: {out / 'scores.jsonl'}")
