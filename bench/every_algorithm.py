"""Run every algorithm for a few steps on a real model, and print what it reports.

    python -m bench.every_algorithm [--model smollm2] [--steps 4] [--out runs/every-algorithm]

Not a comparison: a few steps show that the numbers are finite and start where they must (a KL
of zero), not which algorithm is better.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, get_args, get_type_hints

from burnish.algos.distill import Distillation
from burnish.algos.policy_gradient import PolicyGradient
from burnish.algos.rpo import RPO
from burnish.cli.table import table
from burnish.cli.terminal import cache_dir
from burnish.config import snake
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.run import Run
from burnish.stages.annotate import Annotate, ModelAnnotator, RubricAnnotator
from burnish.stages.attributes import TrainAttributes
from burnish.stages.distill import Distill
from burnish.stages.label_steps import LabelSteps
from burnish.stages.load import EverydayProblems, LoadModel
from burnish.stages.merge import Merge
from burnish.stages.outcome import TrainOutcome
from burnish.stages.prefer import Prefer
from burnish.stages.process import TrainProcess
from burnish.stages.rate import Rate
from burnish.stages.reward import TrainReward
from burnish.stages.rl import RL
from burnish.stages.sample import Draws, Sample
from burnish.stages.sft import SFT

POLICY = (
    "rl/score", "rl/kl", "rl/exact_kl", "rl/entropy", "rl/ratio_gap", "train/grad_norm",
)  # fmt: skip
LABELS = ("train/loss", "train/grad_norm", "train/labels")
WHOLE = ("distill/divergence", "distill/reverse_kl", "distill/entropy", "train/grad_norm")
PAIRS = ("dpo/margin", "dpo/accuracy", "dpo/chosen_nll", "train/grad_norm", "train/loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/every-algorithm"))
    given = parser.parse_args()
    recipe = made(given.model, given.steps)
    run = execute(recipe, given.out, cache=cache_dir())
    for kind, names in (
        (RL, POLICY),
        (Prefer, PAIRS),
        (TrainReward, ("reward/accuracy", "reward/margin", "train/grad_norm", "train/loss")),
        (TrainOutcome, LABELS),
        (TrainProcess, LABELS),
        (TrainAttributes, LABELS),
        (Distill, WHOLE),
    ):
        print("\n".join(table(rows(run, recipe, kind, names))), end="\n\n")


def made(model: str, steps: int) -> Recipe:
    """One stage an algorithm, all from the same model and the same problems."""
    recipe = Recipe(name="every-algorithm")
    base = recipe.add("base", LoadModel(name=model))
    everyday = recipe.add("everyday", EverydayProblems(num_train=64, num_heldout=8))
    draws = Draws(max_new_tokens=32)
    samples = recipe.add(
        "samples",
        Sample(
            model=base.model,
            problems=everyday.train,
            num_problems=16,
            num_samples=4,
            draws=Draws(max_new_tokens=96),
        ),
    )
    compared = recipe.add(
        "compared",
        Annotate(
            completions=samples.completions,
            pairs_per_problem=2,
            annotator=RubricAnnotator(temperature=0.05),
        ),
    )
    for algorithm in algorithms(RL):
        knobs = {"kl_coef": 0.05} if issubclass(algorithm, PolicyGradient) else {}
        recipe.add(
            snake(algorithm.__name__),
            RL(
                model=base.model,
                problems=everyday.train,
                algorithm=algorithm(**knobs),
                optim=Optim(lr=1e-5),
                steps=steps,
                problems_per_step=4,
                group_size=4,
                draws=draws,
                importance_cap=2.0,
                kl_audit_rows=4,
            ),
        )
    rewarded = add_reward_models(recipe, base, everyday, samples, compared, steps)
    scored = recipe.add(
        "scored",
        Annotate(
            completions=samples.completions,
            pairs_per_problem=2,
            annotator=ModelAnnotator(model=rewarded.reward_model),
        ),
    )
    add_direct_alignment(recipe, base, compared, scored, steps)
    add_distillation(recipe, base, everyday, steps)
    return recipe


def add_direct_alignment(recipe: Recipe, base: Any, compared: Any, scored: Any, steps: int) -> None:
    """Each algorithm; RPO on pairs with margins, which a reward model gives."""
    for algorithm in algorithms(Prefer):
        recipe.add(
            snake(algorithm.__name__),
            Prefer(
                model=base.model,
                comparisons=(scored if algorithm is RPO else compared).comparisons,
                algorithm=algorithm(),
                passes=Passes(batch_rows=4, epochs=8, max_steps=steps),
                optim=Optim(lr=1e-5),
            ),
        )


def add_reward_models(
    recipe: Recipe, base: Any, everyday: Any, samples: Any, compared: Any, steps: int
) -> Any:
    """Each kind of reward model; that of comparisons is returned."""
    given: dict[str, Any] = {
        "model": base.model,
        "passes": Passes(batch_rows=4, epochs=8, max_steps=steps),
        "optim": Optim(lr=2e-5, head_lr_ratio=20),
        "heldout": 0.5,
    }
    rewarded = recipe.add("bradley_terry", TrainReward(comparisons=compared.comparisons, **given))
    recipe.add("outcome", TrainOutcome(completions=samples.completions, **given))
    labelled = recipe.add(
        "labelled",
        LabelSteps(
            model=base.model,
            completions=samples.completions,
            num_continuations=1,
            separator=". ",
            draws=Draws(max_new_tokens=96),
        ),
    )
    recipe.add("process", TrainProcess(steps=labelled.steps, separator=". ", **given))
    ratings = recipe.add("ratings", Rate(completions=samples.completions))
    weights = {"length": 1.0, "on_topic": 1.0}
    recipe.add("attributes", TrainAttributes(ratings=ratings.ratings, weights=weights, **given))
    return rewarded


def add_distillation(recipe: Recipe, base: Any, everyday: Any, steps: int) -> None:
    """From a teacher that has seen demonstrations, by each divergence; and the two averaged."""
    passes = Passes(batch_rows=8, max_steps=4)
    data = (everyday.demonstrations,)
    teacher = recipe.add(
        "teacher", SFT(model=base.model, data=data, passes=passes, optim=Optim(lr=5e-5))
    )
    for name, beta in (("reverse_kl", 1.0), ("jensen_shannon", 0.5), ("forward_kl", 0.0)):
        recipe.add(
            name,
            Distill(
                model=base.model,
                teacher=teacher.model,
                problems=everyday.train,
                algorithm=Distillation(beta=beta),
                optim=Optim(lr=1e-5),
                steps=steps,
                problems_per_step=4,
                num_samples=4,
                draws=Draws(max_new_tokens=32),
            ),
        )
    recipe.add("merged", Merge(models=(base.model, teacher.model)))


def algorithms(stage: type) -> tuple[Any, ...]:
    """What the stage's `algorithm` may be."""
    return get_args(get_type_hints(stage)["algorithm"])


def rows(run: Run, recipe: Recipe, kind: type, names: tuple[str, ...]) -> list[list[str]]:
    """First and last step of each algorithm, as `first > last`."""
    out = [["algorithm", *names, "s/step"]]
    for name, stage in recipe.stages.items():
        if isinstance(stage, kind) and dataclasses.is_dataclass(stage):
            found = [row for row in run.stage(name).metrics() if "train/seconds" in row]
            seconds = sum(row["train/seconds"] for row in found) / len(found)
            cells = [_cell(found[0].get(n), found[-1].get(n)) for n in names]
            out.append([name, *cells, f"{seconds:.1f}"])
    return out


def _cell(first: float | None, last: float | None) -> str:
    return "-" if first is None or last is None else f"{first:.3g} > {last:.3g}"


if __name__ == "__main__":
    main()
