"""`burnish eval`: how well a model does on problems, with intervals, alone or against another."""

from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.chat import ModelArgument, StageOption
from burnish.cli.running import DeviceOption, SeedOption
from burnish.cli.terminal import cache_dir, remark, say, screen
from burnish.errors import ConfigError, RunError

TASK_TOKENS = 64
"""The longest completion of a task that is no suite."""


TaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME_OR_FILE",
        help="sums, everyday, a stage of the run with held-out problems, or a file.",
        show_default="sums",
    ),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A published set of problems: gsm8k, ifeval."),
]
DataOption = Annotated[
    str | None,
    typer.Option(metavar="DIR_OR_FILE", help="Where the suite's problems lie."),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="RUN_OR_MODEL", help="Another model on the same problems; or a stage of RUN."
    ),
]
NumOption = Annotated[int | None, typer.Option(help="The first so many problems.")]
TemperatureOption = Annotated[float, typer.Option(help="0 takes the likeliest token.")]
TokensOption = Annotated[
    int | None,
    typer.Option(help="Longest completion.", show_default=f"{TASK_TOKENS}, or the suite's own"),
]
ScoresOption = Annotated[
    Path | None, typer.Option(help="Directory for scores.jsonl, one row a completion.")
]


def evaluate(
    model: ModelArgument,
    stage: StageOption = None,
    task: TaskOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    against: AgainstOption = None,
    num: NumOption = None,
    temperature: TemperatureOption = 0.0,
    max_new_tokens: TokensOption = None,
    seed: SeedOption = None,
    out: ScoresOption = None,
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
    found_suite = evaluating.suite_of(suite, task=task, data=data)
    usual = TASK_TOKENS if found_suite is None else found_suite.max_new_tokens
    limit = usual if max_new_tokens is None else max_new_tokens
    draws = Draws(max_new_tokens=limit, temperature=temperature)
    models = evaluating.find_models(model, stage, against)
    run = next(iter(models.values())).run
    seed = seed if seed is not None else 0 if run is None else int(run.recipe.get("seed", 0))
    if found_suite is None:
        problems = evaluating.find_problems(task or "sums", run, seed)
    else:
        problems, counts = found_suite.problems(data)
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
        suite=found_suite,
        cache=None if found_suite is None else cache_dir(),
    )
    for line in evaluating.summary(rows, limit, found_suite):
        say(line)
    if out is not None:
        try:
            write_rows(out / "scores.jsonl", [row for found in rows.values() for row in found])
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror})") from error
        say(f"scores: {out / 'scores.jsonl'}")
