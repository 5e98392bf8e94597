"""`burnish compare`: two runs' models on the same problems, and how their recipes differ."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from burnish.cli.terminal import say

_UNSAID = ("name", "description", "sources")
"""Keys of a recipe that change nothing."""


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Directory of a run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Directory of another.")],
) -> None:
    """Compare two runs: each model on each task, paired by problem, and what their recipes say."""
    from burnish.cli.table import estimate, table
    from burnish.pipeline.run import Run
    from burnish.stages.compare import compare_runs

    recipes = [Run.open(path).recipe for path in (run_a, run_b)]
    found = compare_runs(run_a, run_b)
    say(f"A  {run_a}\nB  {run_b}\n")
    stages = {row.stage for row in found.rows}
    head = ["task", "model", "metric", "A", "95 % interval", "B", "95 % interval", "B - A"]
    rows = [[*head, "95 % interval", "p", "problems"]]
    for row in found.rows:
        task = f"{row.stage}: {row.task}" if len(stages) > 1 else row.task
        numbers = [*estimate(row.a), *estimate(row.b), *estimate(row.difference, "+")]
        rows.append(
            [task, row.model, row.metric, *numbers, f"{row.test.p:.2g}", str(row.difference.n)]
        )
    for line in table(rows):
        say(line)
    left_out = sum(row.only_a + row.only_b for row in found.rows)
    if left_out:
        say(f"{left_out} problems that only one run scored are left out")
    for name, alone in (("A", found.only_a), ("B", found.only_b)):
        if alone:
            say(f"only in {name}: " + ", ".join(f"{m} on {t} ({s})" for s, m, t in alone))
    changed = list(differences(*recipes))
    say("\nthe recipes are the same" if not changed else "\nrecipes")
    for line in table([["", "A", "B"], *changed]) if changed else ():
        say(line)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Dotted key and both values, wherever two recipes differ; a dash is for what one has not."""
    ours, theirs = dict(_flat(a)), dict(_flat(b))
    for key in dict.fromkeys([*ours, *theirs]):
        left, right = (values.get(key, "-") for values in (ours, theirs))
        if left != right:
            yield key, left, right


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            if name not in _UNSAID:
                yield from _flat(item, name.removeprefix("stages."))
    else:
        yield prefix, str(value)
