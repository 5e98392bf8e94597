"""`burnish plan`: what a recipe will take here, and what cannot work, before anything runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.running import ALL, BudgetOption, DeviceOption, OutOption, SetOption, cut
from burnish.cli.terminal import cache_dir, complain, remark, say
from burnish.errors import ConfigError, ModelError

if TYPE_CHECKING:  # importing these takes longer than `burnish --help` may
    from burnish.pipeline.artifact import Ref
    from burnish.pipeline.budget import Speeds
    from burnish.pipeline.forecast import Texts
    from burnish.pipeline.recipe import Recipe
    from burnish.stages.plan import Forecast, Measured

GIB = 1 << 30
LARGE_GPU = "h100"


def plan(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe, a YAML file, or a run.")],
    assignments: SetOption = None,
    device: DeviceOption = "cpu",
    gpu: Annotated[
        str | None, typer.Option(help="Whose memory must hold it: h100, a100, l4, rtx4090, ...")
    ] = None,
    out: OutOption = None,
    budget: BudgetOption = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Print beside it what this run took, with ratios."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the machine again, for a few seconds.")
    ] = False,
) -> None:
    """Predict tokens, time, memory and disk of each stage, and say what cannot work."""
    from burnish.cli.recipes import load_recipe
    from burnish.cli.table import table
    from burnish.models.device import chosen
    from burnish.pipeline.environment import memory_bytes
    from burnish.pipeline.run import Run
    from burnish.stages.plan import foresee, measured, shapes_of
    from burnish.stages.plan_checks import GPUS, complaints

    if gpu is not None and gpu not in GPUS:
        from burnish.config import suggest

        raise ConfigError(f"gpu={gpu}: not one that is known; {suggest(gpu, GPUS)}")
    device = chosen(device)
    done = None if against is None else measured(Run.open(against))
    loaded = load_recipe(recipe, assignments)
    shapes, wrong = shapes_of(loaded, cache_dir())
    texts, speeds, found = _look(loaded, device, measure)
    here = speeds is not None and gpu is None and device == "cpu"
    if here:
        loaded = _within(loaded, speeds, budget)
    elsewhere = gpu or (LARGE_GPU if not here else None)
    forecast = foresee(loaded, shapes, texts, speeds, gpu=elsewhere is not None)
    if done is not None:
        for line in table(list(_beside(forecast, done))):
            say(line)
    else:
        for line in table(list(_rows(forecast, elsewhere))):
            say(line)
        say(_guesses(speeds))
    asked = memory_bytes() if here else GPUS[gpu] if gpu is not None else float("inf")
    free = shutil.disk_usage(_existing(out or Path("runs") / loaded.name)).free
    wrong += found + complaints(
        loaded,
        forecast,
        memory_bytes=asked,
        where="this machine" if here else f"one {elsewhere}",
        disk_free=free,
    )
    for line in wrong:
        complain(line)
    if wrong:
        raise typer.Exit(1)


def _within(recipe: "Recipe", speeds: "Speeds | None", budget: str | None) -> "Recipe":
    """The recipe as it would be cut here."""
    from burnish.pipeline.budget import share

    asked = recipe.budget if budget is None else budget
    if speeds is None or asked in ("", ALL):
        return recipe
    fitted, plan = cut(recipe, speeds, budget)
    say(f"{recipe.name} {share(plan.factor)}, to fit its budget")
    return fitted


def _look(
    recipe: "Recipe", device: str, measure: bool
) -> "tuple[dict[Ref, Texts], Speeds | None, list[str]]":
    """What the data holds, how fast this machine is with the model, and complaints."""
    from burnish.cli.speed import known, model_of, speeds
    from burnish.stages.plan_texts import see_data, see_model
    from burnish.text.tokenizer import load_tokenizer

    try:
        model = model_of(recipe, cache_dir())
    except ModelError:  # its shape may be given; if not, that was complained about
        model = None
    seen = see_data(recipe, cache_dir(), None if model is None else load_tokenizer(model))
    if model is None:
        return seen.texts, None, seen.problems
    before = None if measure else known(cache_dir(), model, device)
    if before is None:
        remark("timing this machine with the model, for some seconds")
        before = speeds(cache_dir(), model, device)
    texts = seen.texts | dict(see_model(recipe, model, device, seen.asked))
    return texts, before, seen.problems


def _rows(forecast: "Forecast", gpu: str | None) -> Iterator[list[str]]:
    from burnish.pipeline.progress import duration
    from burnish.stages.plan_checks import GPUS, num_gpus

    timed = any(e.seconds is not None for e in forecast.stages.values())
    head = ["stage", "sampled", "trained", "scored", *(["time"] if timed else [])]
    yield [*head, "memory", "disk", *([f"{gpu}s"] if gpu else [])]
    for name, e in forecast.stages.items():
        w = e.work
        cells = ["-"] * 3
        if w is not None:
            cells = [_count(t) for t in (w.sampled_tokens, w.trained_tokens, w.scored_tokens)]
        time = [duration(e.seconds) if e.seconds is not None else "?"] if timed else []
        fits = (
            ["?" if e.peak_bytes is None else str(num_gpus(e.peak_bytes, GPUS[gpu]))] if gpu else []
        )
        yield [
            name,
            *cells,
            *time,
            _gib(e.peak_bytes),
            _gib(e.disk_bytes),
            *fits,
        ]
    works = [e.work for e in forecast.stages.values() if e.work is not None]
    totals = [
        _count(sum(w.sampled_tokens for w in works)),
        _count(sum(w.trained_tokens for w in works)),
        _count(sum(w.scored_tokens for w in works)),
    ]
    time = [duration(forecast.seconds)] if timed else []
    fits = [str(num_gpus(forecast.peak_bytes, GPUS[gpu]))] if gpu else []
    yield ["in all", *totals, *time, _gib(forecast.peak_bytes), _gib(forecast.disk_bytes), *fits]


def _beside(forecast: "Forecast", done: "dict[str, Measured]") -> Iterator[list[str]]:
    """Predicted, measured and their ratio, of the stages that both have."""
    from burnish.stages.plan import tokens

    yield ["stage", *(c for w in ("seconds", "GiB", "tokens") for c in (w, "measured", "ratio"))]
    names = [name for name in forecast.stages if name in done]
    if not names:
        raise ConfigError("the run has none of the recipe's stages; plan the recipe of that run")
    totals = [0.0] * 4
    peaks = [0.0, 0.0]
    for name in names:
        e, m = forecast.stages[name], done[name]
        expected = tokens(e.work)
        yield [
            name,
            *_pair(e.seconds, m.seconds, 1),
            *_pair(e.peak_bytes, m.peak_bytes, GIB),
            *_pair(expected, m.tokens, 1),
        ]
        totals = [
            a + b
            for a, b in zip(totals, (e.seconds or 0, m.seconds, expected, m.tokens), strict=True)
        ]
        if e.peak_bytes is not None and m.peak_bytes is not None:
            peaks = [max(peaks[0], e.peak_bytes), max(peaks[1], m.peak_bytes)]
    yield [
        "in all",
        *_pair(totals[0], totals[1], 1),
        *_pair(peaks[0], peaks[1], GIB),
        *_pair(totals[2], totals[3], 1),
    ]


def _pair(expected: float | None, found: float | None, unit: float) -> list[str]:
    cells = ["?" if v is None else f"{v / unit:,.0f}" if v / unit >= 100 else f"{v / unit:.1f}"
             for v in (expected, found)]  # fmt: skip
    ratio = "" if not expected or not found else f"{expected / found:.2f}"
    return [*cells, ratio]


def _guesses(speeds: "Speeds | None") -> str:
    about = (
        "guessed: lengths of completions (as those of the likeliest demonstration, or of the model "
        "as it comes; else half of max_new_tokens), shares of groups that are trained on and of "
        "completions that pass"
    )
    return about if speeds is not None else f"no time: the model is not on this machine; {about}"


def _count(tokens: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if tokens >= size:
            return f"{tokens / size:.3g}{unit}"
    return f"{tokens:.0f}"


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size / GIB:.2f} GiB"


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
