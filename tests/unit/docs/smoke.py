"""Commands of the documentation: what they name, what makes them small, and where they are run."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from burnish import cli
from burnish.cli.recipes import load_recipe
from burnish.cli.studies import STUDIES
from burnish.config import suggest
from burnish.errors import ConfigError
from burnish.stages.sweep import Axis, check_stages, grid
from tests.unit.stages.test_canonical import FEW

ELSEWHERE = {
    "bench.studies": "stages/test_studies.py::test_a_landscape_is_drawn_from_its_run",
    "bench.sweep_curves": "stages/test_sweep.py::"
    "test_each_recipe_of_a_sweep_gives_a_page_that_stands_up_to_checking",
    "burnish chat runs/over_optimisation:over_optimisation": "stages/test_studies.py::"
    "test_the_best_model_of_a_pursuit_can_be_talked_to",
    "burnish bench": "cli/test_bench.py::test_as_text_every_kind_of_work_has_a_line",
    "burnish run star": "stages/test_recipes.py::"
    "test_star_draws_from_each_rounds_model_and_tunes_that_of_the_start",
    "burnish run tools": "stages/test_recipes.py::"
    "test_tools_and_games_are_played_before_and_after_rl",
    "burnish run guessing": "stages/test_recipes.py::"
    "test_tools_and_games_are_played_before_and_after_rl",
    "burnish run r1-zero-laptop": "stages/test_canonical.py::"
    "test_every_laptop_recipe_runs_to_its_evaluation",
    "burnish run tulu3-laptop": "stages/test_canonical.py::"
    "test_every_laptop_recipe_runs_to_its_evaluation",
    "burnish study elicitation": "stages/test_study_recipes.py::"
    "test_a_study_runs_and_its_report_checks_out",
    "burnish study inference_scaling": "stages/test_study_recipes.py::"
    "test_a_study_runs_and_its_report_checks_out",
    "burnish study three_kinds": "stages/test_study_recipes.py::"
    "test_a_study_runs_and_its_report_checks_out",
    "burnish study training_scaling": "stages/test_study_recipes.py::"
    "test_a_study_runs_and_its_report_checks_out",
    "burnish study landscape": "stages/test_studies.py::"
    "test_the_landscapes_report_passes_its_check_and_speaks_of_paths",
    "burnish run landscape": "stages/test_studies.py::"
    "test_the_landscapes_report_passes_its_check_and_speaks_of_paths",
    "burnish study over_optimisation": "stages/test_studies.py::"
    "test_the_pursuits_report_passes_its_check_and_states_findings",
    "burnish verify-bench all": "evals/test_verify_bench.py::"
    "test_what_ships_makes_no_error_on_its_cases",
    "burnish sweep sft-data": "stages/test_sweep.py::"
    "test_each_recipe_of_a_sweep_gives_a_page_that_stands_up_to_checking",
    "burnish sweep reward-size": "stages/test_sweep.py::"
    "test_each_recipe_of_a_sweep_gives_a_page_that_stands_up_to_checking",
    "burnish sweep dpo-beta": "stages/test_sweep.py::"
    "test_each_recipe_of_a_sweep_gives_a_page_that_stands_up_to_checking",
    "burnish sweep group-size": "stages/test_sweep.py::"
    "test_each_recipe_of_a_sweep_gives_a_page_that_stands_up_to_checking",
}
"""What a command begins with -> the test (below tests/unit) that runs its recipe. Its options are
still read, and its recipe is loaded with them."""

NOT_RUN = {
    "burnish get": "fetches a model of 93 MB from a package index",
    "bench.gpu": "needs a GPU; what it does without one is tested in tests/unit/bench",
    "bench.scaling": "times weights of real sizes, minutes at the least",
}
"""What a command begins with -> why only its options are read."""

PLACES = {
    "A": "tulu3",
    "B": "tulu3-laptop",
    "DIR": ".",
    "FILE_OR_FOLDER": "prompts.jsonl",
    "KIND": "pairwise_likelihood",
    "MODEL": "smollm2",
    "RUN": "runs/quickstart",
    "data.path=FILE": "data.path=hh.jsonl.gz",
    "eval NAME": "ifeval",
    "verify-bench NAME": "exact",
}
"""Placeholder, after its command's name where that matters -> what it stands for in the test."""

RUNS = {
    "runs/a": ["run", "hello", "--out", "runs/a"],
    "runs/b": ["run", "hello", "--set", "sft.optim.lr=1e-4", "--out", "runs/b"],
    "runs/constrained": ["run", "constrained"],
    "runs/mine": ["run", "hello", "--out", "runs/mine"],
    "runs/other": ["run", "hello", "--set", "sft.optim.lr=1e-4", "--out", "runs/other"],
    "runs/quickstart": ["run", "quickstart"],
    "runs/sweep-hello": ["sweep", "hello", "--over", "sft.optim.lr=1e-5,1e-4"],
}
"""Run that commands speak of -> how it comes about."""

OWN = {"judges": ["solutions.draws.max_new_tokens=64"]}  # for some of them to end
"""Recipe -> what it needs besides, to be small and still have something to work on."""

SMALL: dict[str, dict[str, object]] = FEW | {
    "control": {"seeds": 2, "num_envs": 2, "rollout_steps": 64, "steps": 256, "eval_episodes": 4},
    "inference_scaling": {"num_problems": 4, "num_samples": 4, "draws.max_new_tokens": 4},
    "label_steps": {"num_continuations": 1, "draws.max_new_tokens": 4},
    "over_optimisation": {"num_problems": 4, "num_samples": 4, "draws.max_new_tokens": 4},
    "train_outcome": {"passes.max_steps": 1, "heldout": 0.5},
    "train_process": {"passes.max_steps": 1, "heldout": 0.5},
}
"""Values that make a stage of each type take a moment."""

TINY: dict[str, list[str]] = {
    "burnish calibrate-judge": ["--num", "6"],
    "burnish chat": ["--max-new-tokens", "4"],
    "burnish eval": ["--num", "4", "--max-new-tokens", "4"],
    "burnish sweep": ["--seeds", "1"],
    "burnish verify-bench": ["--num", "1"],
    "bench.cartpole": ["--every", "8192"],
    "bench.every_algorithm": ["--steps", "1"],
    "bench.grpo_step": ["--prompts", "2", "--group", "2", "--new-tokens", "4"],
    "bench.pairs": ["--prompts", "2", "--new-tokens", "4"],
    "bench.sampling": ["--prompts", "2", "--shortest", "2", "--longest", "4"],
    "bench.sft": ["--rows", "2"],
}
"""What a command begins with -> options that make it take a moment."""


def told(words: Sequence[str]) -> list[str]:
    """The words with placeholders filled in."""
    name = words[1] if len(words) > 1 else ""
    return [PLACES.get(f"{name} {word}", PLACES.get(word, word)) for word in words]


def entry(table: Mapping[str, Any], words: Sequence[str]) -> str | None:
    """The key of a table that a command begins with."""
    whole = " ".join(words)
    return next((key for key in table if f"{whole} ".startswith(f"{key} ")), None)


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Name and values of a `burnish` command, by its own parser. Raises: click's UsageError."""
    command: Any = typer.main.get_command(cli.app)
    names, rest = [], list(words[1:])
    while hasattr(command, "commands"):
        name = rest.pop(0) if rest else ""
        if name not in command.commands:
            raise ConfigError(f"no command `{name}`; {suggest(name, command.commands)}")
        command = command.commands[name]
        names.append(name)
    with command.make_context(names[-1], rest) as context:
        return " ".join(names), dict(context.params)


def loads(words: Sequence[str]) -> None:
    """Load the recipes that a command names, with what it sets. Raises: ConfigError."""
    name, given = parsed(words)
    sets = list(given.get("assignments") or [])
    recipe = given.get("recipe", "")
    recipe = RUNS[recipe][1] if recipe in RUNS else recipe
    if name == "sweep":
        axes = [Axis.parse(text) for text in given["over"]]
        made = grid(lambda own: load_recipe(recipe, [*sets, *own]), axes, given["seeds"])
        check_stages(given["metric"] or [], made[0][1])
    elif name == "recipe diff":
        for side in ("recipe_a", "recipe_b"):
            load_recipe(given[side])
    elif name == "study" and given["name"]:
        if given["name"] not in STUDIES:
            raise ConfigError(f"no study `{given['name']}`; {suggest(given['name'], STUDIES)}")
        model = [f"base.name={given['model']}"] if given["model"] else []
        load_recipe(given["name"], [*model, *sets])
    elif recipe or name == "quickstart":
        load_recipe(recipe or name, sets)
