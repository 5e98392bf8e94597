"""`burnish study`: questions about a model that a packaged recipe answers, with intervals."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.running import (
    BudgetOption,
    DeviceOption,
    OutOption,
    SeedOption,
    SetOption,
    carry_out,
)
from burnish.cli.terminal import say
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What a recipe of the same name asks, and how long it should take on two cores: an estimate,
    which no run on quiet cores has borne out yet."""

    question: str
    time: str


STUDIES = {
    "inference_scaling": Study(
        question="What do more samples, and more or less thinking, buy for the tokens they take?",
        time="10 min",
    ),
    "training_scaling": Study(
        question="What does more RL compute buy on held-out problems, and where does it tend?",
        time="10 min",
    ),
    "elicitation": Study(
        question="Did training add an ability, or aim better at what was there?",
        time="20 min",
    ),
    "three_kinds": Study(
        question="How do classical RL, RLHF and RLVR differ, on the same core?",
        time="15 min",
    ),
    "landscape": Study(
        question="What do five ways to use the same labels buy for the same compute?",
        time="30 min",
    ),
    "over_optimisation": Study(
        question="How far can a learnt reward be pursued before the true one falls?",
        time="30 min",
    ),
}
"""Each starts from the model of its stage `base`, and its report's sections hold its findings."""


def study(
    name: Annotated[
        str | None, typer.Argument(help="Which; without it, they are listed.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Start from this model: a known name, or a Hugging Face directory."),
    ] = None,
    out: OutOption = None,
    assignments: SetOption = None,
    budget: BudgetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Run a study of a model, and print what it found; without a name, list the studies."""
    if name is None:
        for line in _listed():
            say(line)
        return
    from burnish.config import suggest

    if name not in STUDIES:
        raise ConfigError(f"no study `{name}`; {suggest(name, STUDIES)}")
    from burnish.cli.recipes import load_recipe, packaged
    from burnish.stages.report import build_report

    swaps = [] if model is None else [f"base.name={json.dumps(model)}"]
    seeds = [] if seed is None else [f"seed={seed}"]
    recipe = load_recipe(str(packaged()[name]), [*swaps, *(assignments or []), *seeds])
    run_dir = out or Path("runs") / recipe.name
    if not carry_out(recipe, run_dir, device=device, budget=budget):
        return
    say(f"\n{STUDIES[name].question}")
    for finding in build_report(run_dir).findings:
        say(f"- {finding.text.striptags()}")


def _listed() -> Iterator[str]:
    from burnish.cli.table import table

    rows = [[name, study.time, study.question] for name, study in STUDIES.items()]
    yield from table([["study", "two cores", "question"], *rows])
    yield ""
    yield "run one: burnish study NAME [--model PATH]"
