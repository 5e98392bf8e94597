"""The metrics catalogue, and the append-only JSONL file that holds a stage's metrics.

Every metric is declared here with its unit and meaning; writing an undeclared one is an error, so
that a report can always say what a number is.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import RunError


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric means, in which unit, and which way is better ("" where neither is)."""

    unit: str
    meaning: str
    better: str = ""


CATALOGUE: dict[str, Metric] = {
    "train/loss": Metric("nats", "the loss that was minimised, summed over weights", "lower"),
    "train/grad_norm": Metric("", "global gradient norm before clipping"),
    "train/lr": Metric("", "learning rate of this step"),
    "train/tokens": Metric("tokens", "tokens multiplied in this step, prompts included"),
    "train/trained_tokens": Metric("tokens", "tokens with a loss in this step"),
    "train/labels": Metric("labels", "labels with a loss in this step"),
    "train/seconds": Metric("s", "wall time of this optimiser step"),
    "train/epoch": Metric("epochs", "passes over the data so far"),
    "sft/nll": Metric("nats/token", "mean negative log-likelihood of trained tokens", "lower"),
    "sft/token_accuracy": Metric(
        "", "share of trained tokens that are the model's first choice", "higher"
    ),
    "reward/accuracy": Metric(
        "", "share of pairs ranked as annotated; ties count one half", "higher"
    ),
    "reward/margin": Metric("", "mean score difference, chosen minus rejected"),
    "reward/heldout_accuracy": Metric("", "pair accuracy on held-out prompts", "higher"),
    "dpo/accuracy": Metric("", "share of pairs whose implicit reward ranks as annotated", "higher"),
    "dpo/margin": Metric("", "mean implicit reward difference, beta included"),
    "dpo/chosen_reward": Metric("", "beta times log ratio of the chosen completion"),
    "dpo/rejected_reward": Metric("", "beta times log ratio of the rejected completion"),
    "dpo/chosen_nll": Metric(
        "nats/token", "mean negative log-likelihood of the chosen completions", "lower"
    ),
    "distill/divergence": Metric(
        "nats/token", "mean divergence of student and teacher: what is minimised", "lower"
    ),
    "distill/reverse_kl": Metric(
        "nats/token", "mean KL from student to teacher, at the same temperature", "lower"
    ),
    "distill/entropy": Metric("nats/token", "mean entropy of the student, at that temperature"),
    "distill/on_policy": Metric("", "whether the student wrote the step's completions: 1 or 0"),
    "distill/length": Metric("tokens", "mean trained tokens of a completion or row of data"),
    "distill/truncated": Metric("", "share of the step's completions cut by the limit"),
    "distill/sampled_tokens": Metric("tokens", "tokens sampled in this step"),
    "distill/sample_seconds": Metric("s", "wall time spent sampling in this step"),
    "rl/score": Metric("", "mean score of the completions, before any KL penalty", "higher"),
    "rl/gold": Metric("", "mean gold score of the completions, never trained on", "higher"),
    "rl/shaping": Metric("", "mean of what shaping adds to a score: for length, or for being cut"),
    "rl/kl_coef": Metric("", "price of a nat of KL in this step"),
    "rl/discarded_groups": Metric("groups", "groups sampled and not trained on: no signal"),
    "rl/return": Metric("", "mean sum of rewards of an episode, penalties included", "higher"),
    "rl/length": Metric("decisions", "mean length of an episode"),
    "rl/truncated": Metric("", "share of episodes cut by a limit"),
    "rl/kl": Metric(
        "nats", "mean over episodes of summed k1, policy to reference, under the sampler"
    ),
    "rl/exact_kl": Metric(
        "nats",
        "mean over some episodes of what rl/kl estimates, summed over the whole vocabulary",
    ),
    "rl/entropy": Metric("nats", "mean entropy of the policy per decision"),
    "rl/clip_fraction": Metric("", "share of decisions whose ratio left the clip range"),
    "rl/approx_kl": Metric("nats", "mean k3 from old to new policy in this update"),
    "rl/ratio_gap": Metric(
        "", "largest |ratio - 1| at the first optimiser step of the rollout", "lower"
    ),
    "rl/sampler_gap": Metric(
        "nats", "mean |learner - sampler| log-probability per decision", "lower"
    ),
    "rl/zero_groups": Metric("", "share of groups whose rewards are all equal, so no signal"),
    "rl/unscored": Metric("completions", "completions that could not be scored"),
    "rl/failed": Metric(
        "completions", "completions on which the user's reward function failed", "lower"
    ),
    "rl/beside_nll": Metric("nats", "negative log-likelihood per token of `beside`", "lower"),
    "rl/value_grad_norm": Metric("", "gradient norm of the value function's own weights"),
    "rl/value_loss": Metric("", "clipped squared error of the value head", "lower"),
    "rl/explained_variance": Metric(
        "", "share of the returns' variance that the values explain", "higher"
    ),
    "rl/sampled_tokens": Metric("tokens", "tokens sampled in this step"),
    "rl/sample_seconds": Metric("s", "wall time spent sampling in this step"),
    "env/turns": Metric("turns", "mean turns of the policy in an episode"),
    "env/success": Metric("", "share of episodes whose verdict is passed", "higher"),
    "env/turn_rewards": Metric("", "mean sum of an episode's rewards for single turns", "higher"),
    "env/cut_tokens": Metric("episodes", "episodes ended by the limit of a turn", "lower"),
    "env/cut_context": Metric("episodes", "episodes ended by the limit of their tokens", "lower"),
    "env/cut_turns": Metric("episodes", "episodes ended by the limit of turns", "lower"),
    "env/tool_calls": Metric("calls", "tool calls that were answered in this step"),
    "env/tool_errors": Metric("calls", "tool calls whose answer was an error", "lower"),
    "env/malformed": Metric("turns", "turns of the step not in the form asked for", "lower"),
    "env/level": Metric("", "level of the curriculum, from 0"),
    "env/trial": Metric("", "which of several independent trainings this row is of, from 0"),
    "env/steps": Metric("steps", "environment steps so far"),
    "env/episode_return": Metric("", "mean return of the last 100 finished episodes", "higher"),
    "env/steps_per_second": Metric(
        "steps/s", "environment steps a second, updates included", "higher"
    ),
    "data/rows": Metric("rows", "rows in use"),
    "data/dropped": Metric("rows", "rows dropped, by the reason given beside it"),
    "data/truncated": Metric("rows", "rows truncated to fit the length limit"),
    "eval/score": Metric("", "mean score on held-out problems", "higher"),
}

FAMILIES: dict[str, Metric] = {
    "rl/reward/": Metric("", "mean score of this part of the reward, unweighted"),
    "rl/failed/": Metric("completions", "of those without a score: for this cause"),
}
"""Metrics that are named by a recipe or a cause after the stroke."""
_NO_METRIC = Metric("", "")


def declared(name: str) -> Metric:
    """What is declared of a metric; nothing is known of those that are not."""
    return CATALOGUE.get(name) or next(
        (metric for start, metric in FAMILIES.items() if name.startswith(start)), _NO_METRIC
    )


class MetricsWriter:
    """Appends one JSON object a line. After a resume, rows past the resumed step are dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def path(self) -> Path:
        return self._path

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        """Append the values of one step.

        Raises:
            RunError: a name is not in the catalogue.
        """
        unknown = [n for n in values if declared(n) is _NO_METRIC and n != "reason"]
        if unknown:
            raise RunError(f"metric {unknown[0]!r} is not in the catalogue (burnish/metrics.py)")
        row = {"step": step} | {k: _finite(v) for k, v in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Forget rows of steps >= `step`: they will be written again by the resumed run."""
        if not self._path.exists():
            return
        kept = [row for row in read_metrics(self._path) if int(row["step"]) < step]
        tmp = self._path.with_suffix(".tmp")
        tmp.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        os.replace(tmp, self._path)


def read_metrics(path: Path) -> Iterator[dict[str, float]]:
    """The rows of a metrics file; a last line cut short by a kill is passed over.

    Raises:
        RunError: any other line is damaged; names path:line.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                return
            raise RunError(f"{path}:{number}: damaged; move it away and run again") from error


def _finite(value: float | str) -> float | str | None:
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None
