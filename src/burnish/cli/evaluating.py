"""What `burnish eval` does: problems for a task, completions of them, and what they say."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from burnish import rng
from burnish.cli.models import FoundModel, find_model
from burnish.cli.recipes import load_recipe
from burnish.cli.table import estimate, table
from burnish.config import suggest
from burnish.data.load import load_problems
from burnish.data.store import Sampled, read_problems
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError, DataError
from burnish.evals.kept_rows import BLOCK, KeptRows
from burnish.evals.stats import mean_interval, paired_interval, paired_test
from burnish.evals.suite import Suite
from burnish.evals.suites import find_suite
from burnish.pipeline.artifact import hash_path
from burnish.pipeline.progress import Progress, Screen
from burnish.pipeline.run import Run
from burnish.stages.evaluate import score_row
from burnish.stages.load import EverydayProblems, ReasoningProblems
from burnish.stages.report_scores import by_problem, is_binary
from burnish.stages.sample import Draws, draw_samples
from burnish.types import Finish, Problem, mean

Rows = Sequence[Mapping[str, Any]]
MAX_ROWS = 192
"""Completions in progress at one time."""


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


def find_models(given: str, stage: str | None, against: str | None) -> dict[str, FoundModel]:
    """The model asked for, and the other one where there is one, each under its name.

    Raises:
        ConfigError: both are the same model.
    """
    found = find_model(given, stage)
    models = {found.name: found}
    if against is not None:
        same_run = found.run is not None and against in found.others
        other = find_model(given, against) if same_run else find_model(against)
        if other.path == found.path:
            raise ConfigError(f"--against {against} is the same model")
        models[other.name if other.name != found.name else against] = other
    return models


def suite_of(name: str | None, *, task: str | None, data: str | None) -> Suite | None:
    """The suite of that name, if any. Raises: ConfigError, for options that exclude each other."""
    if name is None:
        if data is not None:
            raise ConfigError("--data belongs to --suite; a file of problems is given by --task")
        return None
    if task is not None:
        raise ConfigError("--task and --suite exclude each other")
    return find_suite(name)


def dropped(counts: Mapping[str, int]) -> Iterator[str]:
    """Lines on rows that are not used."""
    for reason, number in counts.items():
        if reason not in ("rows", "used"):
            yield f"{number} of {counts['rows']} rows dropped: {reason.replace('_', ' ')}"


def evaluate(
    models: Mapping[str, FoundModel],
    problems: Sequence[Problem],
    draws: Draws,
    *,
    seed: int,
    screen: Screen,
    device: str = "cpu",
    suite: Suite | None = None,
    cache: Path | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of scores for each model, one a problem.

    With `cache`, problems are done in blocks, and those of a call that was stopped are not done
    again.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    kept = {}
    screen.begin(list(models), {})
    try:
        for name, found in models.items():
            screen.enter(name)
            text = TextModel.open(found.path, "bfloat16", device)
            size = BLOCK if cache is not None else len(problems)
            progress = screen.task(len(problems), "completion")
            if cache is not None:
                settings = (name, hash_path(found.path), device, repr(draws), str(seed))
                kept[name] = KeptRows(cache, problems, *settings, suite.name if suite else "")
            rows[name] = []
            for number, start in enumerate(range(0, len(problems), size)):
                block = problems[start : start + size]
                done = kept[name].get(number, len(block)) if name in kept else None
                if done is None:
                    sampled, _ = draw_samples(
                        text,
                        block,
                        draws,
                        num=1,
                        max_rows=MAX_ROWS,
                        seed=seed,
                        on_done=partial(_show, progress, start),
                    )
                    done = [_row(name, item, suite) for item in sampled]
                    if name in kept:
                        kept[name].put(number, done)
                rows[name] += done
            screen.leave(name, 0.0, "done")
    finally:
        screen.end()
    for each in kept.values():
        each.clear()
    return rows


def _row(name: str, item: Sampled, suite: Suite | None) -> dict[str, Any]:
    details = {} if suite is None else dict(suite.details(item.problem, item.text))
    return score_row(name, item) | details


def _show(progress: Progress, before: int, done: int, tokens: int) -> None:
    progress.update(before + done, f"{tokens} tokens")


def summary(
    rows: Mapping[str, Rows], max_new_tokens: int, suite: Suite | None = None
) -> Iterator[str]:
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
        if suite is not None:
            yield from _measured(of_task, suite)
        else:
            for key, metric in _metrics(everyone):
                yield from _compared(of_task, key, task, metric)
        cut = sum(row["finish"] == Finish.LENGTH.value for row in everyone)
        if cut:
            yield f"{cut} of {len(everyone)} completions cut at {max_new_tokens} tokens"
        if unscored:
            yield f"{unscored} of {len(everyone)} completions without a score left out"


def _measured(rows: Mapping[str, Rows], suite: Suite) -> Iterator[str]:
    """A suite's own numbers, all in one table."""
    lines = [[suite.name, "", "share", "95 % interval", "n"]]
    for measure in suite.measures:
        for name, found in rows.items():
            interval = measure.interval(found)
            lines.append([measure.name, name, *estimate(interval), str(interval.n)])
        if len(rows) == 2:
            first, second = rows.values()
            gap = measure.difference(first, second)
            lines.append(["", "difference", *estimate(gap, "+"), str(gap.n)])
    yield from table(lines)
    for name, found in rows.items():
        tokens = mean([float(row["tokens"]) for row in found])
        yield f"{name}: {len(found)} problems, {tokens:.1f} tokens a completion"


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
