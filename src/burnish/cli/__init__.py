"""The command line: the only place that prints, and that reads environment variables.

Commands import what they need when they run, so that `burnish --help` answers at once.
"""

import os
import sys
import traceback

import typer

from burnish.cli import (
    bench,
    chat,
    comparing,
    doctor,
    evals,
    inspect,
    judging,
    planning,
    recipe,
    running,
    studies,
    sweeping,
    verify_bench,
)
from burnish.cli.terminal import complain
from burnish.errors import BurnishError

app = typer.Typer(
    name="burnish",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def top(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    """From autocomplete to assistant to reasoner: post-training of language models."""
    if version:
        from burnish import __version__

        typer.echo(__version__)
        raise typer.Exit


app.callback(invoke_without_command=True)(top)
app.command("quickstart")(running.quickstart)
app.command("run")(running.run)
app.command("sweep")(sweeping.sweep)
app.command("resume")(running.resume)
app.command("study")(studies.study)
app.command("plan")(planning.plan)
app.command("show")(inspect.show)
app.command("recipes")(inspect.recipes)
app.add_typer(recipe.app, name="recipe")
app.command("chat")(chat.chat)
app.command("eval")(evals.evaluate)
app.command("compare")(comparing.compare)
app.command("calibrate-judge")(judging.calibrate_judge)
app.command("report")(inspect.report)
app.command("get")(inspect.get)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("verify-bench")(verify_bench.verify_bench)


def main() -> None:
    """The `burnish` command."""
    # Nothing is fetched behind the user's back; whoever names a hub's data set may allow it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    debug = "--debug" in sys.argv  # wherever it stands
    try:
        app([arg for arg in sys.argv[1:] if arg != "--debug"], prog_name="burnish")
    except BurnishError as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
        sys.exit(error.exit_code)
