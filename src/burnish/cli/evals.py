"""`burnish eval`: how well a model does on problems, with intervals, alone or against another."""

from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.chat import ModelArgument, StageOption
from burnish.cli.running import DeviceOption, SeedOption
from burnish.cli.terminal import remark, say, screen
from burnish.errors import ConfigError, RunError

TASK_TOKENS = 64
"""The longest completion of a task that is no suite."""


def evaluate(
    model: ModelArgument,
    stage: StageOption = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="sums, everyday, a stage of the run with held-out problems, or a file.",
            show_default="sums",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A published set of problems: gsm8k, ifeval."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_FILE", help="Where the suite's problems lie: a file, its folder, hub:X."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_OR_MODEL", help="Another model on the same problems; or a stage of RUN."
        ),
    ] = None,
    num: Annotated[int | None, typer.Option(help="The first so many problems.")] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Longest completion.", show_default="64, or the suite's own")
    ] = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for scores.jsonl, one row a completion.")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Evaluate a model on held-out problems; with --against, also the paired difference."""
    from burnish.cli import evaluating
    from burnish.data.store import write_rows
    from burnish.models.device import chosen
    from burnish.stages.sample import Draws

    device = chosen(device)
    if num is not None and num < 1:
        raise ConfigError("--num must be at least 1")
    chosen_suite = evaluating.suite_of(suite, task=task, data=data)
    usual = TASK_TOKENS if chosen_suite is None else chosen_suite.max_new_tokens
    limit = usual if max_new_tokens is None else max_new_tokens
    draws = Draws(max_new_tokens=limit, temperature=temperature)
    models = evaluating.find_models(model, stage, against)
    found = next(iter(models.values()))
    own = 0 if found.run is None else int(found.run.recipe.get("seed", 0))
    seed = own if seed is None else seed
    if chosen_suite is None:
        problems = evaluating.find_problems(task or "sums", found.run, seed)
    else:
        problems, counts = chosen_suite.problems(data)
        for line in evaluating.dropped(counts):
            remark(line)
    if num is not None and num > len(problems):
        remark(f"{suite or task or 'sums'} has {len(problems)} problems, not {num}")
    rows = evaluating.evaluate(
        models,
        problems[:num],
        draws,
        seed=seed,
        screen=screen(remark),
        device=device,
        suite=chosen_suite,
    )
    for line in evaluating.summary(rows, limit, chosen_suite):
        say(line)
    if out is not None:
        try:
            write_rows(out / "scores.jsonl", [row for found in rows.values() for row in found])
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror})") from error
        say(f"scores: {out / 'scores.jsonl'}")
