"""What `burnish eval` does: problems for a task, completions of them, and what they say."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from burnish import rng
from burnish.cli.models import FoundModel
from burnish.cli.recipes import load_recipe
from burnish.cli.table import estimate, table
from burnish.config import suggest
from burnish.data.load import load_problems
from burnish.data.store import read_problems
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError, DataError
from burnish.evals.stats import mean_interval, paired_interval, paired_test
from burnish.pipeline.progress import Progress, Screen
from burnish.pipeline.run import Run
from burnish.stages.evaluate import score_row
from burnish.stages.load import EverydayProblems, ReasoningProblems
from burnish.stages.report_scores import by_problem, is_binary
from burnish.stages.sample import Draws, draw_samples
from burnish.types import Finish, Problem, mean

Rows = Sequence[Mapping[str, Any]]


def find_problems(task: str, run: Run | None, seed: int) -> list[Problem]:
    """Problems that no training has seen, or those of a file.

    `task` is a file, or a stage with held-out problems: of the run, else of the quickstart, whose
    problems are made with the seed as they would be there.

    Raises:
        ConfigError: there is no such task.
        DataError: the file or one of its rows is wrong.
    """
    if Path(task).suffix:
        return load_problems(task, task=Path(task).name.partition(".")[0])[0]
    for record in run.stages() if run is not None else ():
        heldout = record.artifacts.get("heldout")
        if run is not None and record.name == task and heldout and heldout.kind == "problems":
            return read_problems(run.dir / heldout.path)
    made = {
        name: stage
        for name, stage in load_recipe("quickstart").stages.items()
        if isinstance(stage, ReasoningProblems | EverydayProblems)
    }
    if task not in made:
        raise ConfigError(f"no task {task}; {suggest(task, made)} (or give a file of problems)")
    return made[task].split(rng.key(seed, task))[1]


def evaluate(
    models: Mapping[str, FoundModel],
    problems: Sequence[Problem],
    draws: Draws,
    *,
    seed: int,
    screen: Screen,
    device: str = "cpu",
) -> dict[str, list[dict[str, Any]]]:
    """Rows of scores for each model, one a problem."""
    rows = {}
    screen.begin(list(models), {})
    try:
        for name, found in models.items():
            screen.enter(name)
            sampled, _ = draw_samples(
                TextModel.open(found.path, "bfloat16", device),
                problems,
                draws,
                num=1,
                max_rows=192,
                seed=seed,
                on_done=partial(_show, screen.task(len(problems), "completion")),
            )
            rows[name] = [score_row(name, item) for item in sampled]
            screen.leave(name, 0.0, "done")
    finally:
        screen.end()
    return rows


def _show(progress: Progress, done: int, tokens: int) -> None:
    progress.update(done, f"{tokens} tokens")


def summary(rows: Mapping[str, Rows], max_new_tokens: int) -> Iterator[str]:
    """Lines that say how each model did; of two models also the paired difference.

    Raises:
        DataError: no problem could be scored.
    """
    for task in dict.fromkeys(str(row["task"]) for found in rows.values() for row in found):
        of_task = {name: [r for r in found if r["task"] == task] for name, found in rows.items()}
        everyone = [row for found in of_task.values() for row in found]
        unscored = sum(row["score"] is None for row in everyone)
        if unscored == len(everyone):
            raise DataError(f"{task}: no problem has an answer or a rubric, so none can be scored")
        for key, metric in _metrics(everyone):
            yield from _compared(of_task, key, task, metric)
        cut = sum(row["finish"] == Finish.LENGTH.value for row in everyone)
        if cut:
            yield f"{cut} of {len(everyone)} completions cut at {max_new_tokens} tokens"
        if unscored:
            yield f"{unscored} of {len(everyone)} completions without a score left out"


def _metrics(rows: Rows) -> Iterator[tuple[str, str]]:
    """Key and name of each number that these rows have something to say about."""
    binary = is_binary(rows)
    if binary:
        yield "passed", "accuracy"
    if not binary or any(row["score"] not in (0.0, 1.0, None) for row in rows):
        yield "score", "score"


def _compared(rows: Mapping[str, Rows], key: str, task: str, metric: str) -> Iterator[str]:
    values = {name: by_problem(found, key) for name, found in rows.items()}
    lines = [[task, metric, "95 % interval", "problems", "mean tokens"]]
    for name, found in values.items():
        tokens = mean([float(row["tokens"]) for row in rows[name]])
        interval = mean_interval(list(found.values()))
        lines.append([name, *estimate(interval), str(interval.n), f"{tokens:.1f}"])
    if len(values) == 2:
        first, second = values.values()
        shared = [p for p in first if p in second]
        a, b = [first[p] for p in shared], [second[p] for p in shared]
        difference, test = paired_interval(a, b), paired_test(a, b)
        paired = f"paired, {test.method} p = {test.p:.2g}"
        lines.append(["difference", *estimate(difference, "+"), str(difference.n), paired])
    yield from table(lines)
