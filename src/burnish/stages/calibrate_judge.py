"""A judge on pairs with labels: how far it may be believed, and what else it goes by."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish import rng
from burnish.config import require
from burnish.data.splits import prompt_key
from burnish.data.store import read_preferences
from burnish.errors import DataError
from burnish.evals.judge_calibration import JudgedPair, JudgeFigures, judge_figures
from burnish.evals.stats import Interval
from burnish.pipeline.artifact import PreferencesRef
from burnish.pipeline.files import write_json
from burnish.pipeline.stage import Context
from burnish.stages.judging import asking, judge_of, open_chat, tally_usage
from burnish.types import Comparison, PreferencePair, Winner
from burnish.verifiers.chat import OnAnswer
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge import Judge, Pairwise, Pointwise, Shown
from burnish.verifiers.judge_reward import LocalModel
from burnish.verifiers.likelihood_judge import AnyJudge, PairwiseLikelihood, PointwiseLikelihood

Label = Comparison | PreferencePair


@dataclass(frozen=True, kw_only=True)
class CalibrateJudge:
    """A judge + labelled pairs that it has not seen -> its calibration.

    Labels are people's, or a rubric's. Which completion is a and which b is drawn anew, so that
    nothing about how the labels were stored can help.
    """

    outputs: ClassVar[Mapping[str, str]] = {"calibration": "calibration"}

    by: Endpoint | LocalModel
    """Who answers."""
    judge: Pairwise | Pointwise | PairwiseLikelihood | PointwiseLikelihood = Pairwise()
    labels: PreferencesRef
    """Comparisons or preference pairs."""
    num_pairs: int = 200
    """Drawn at random."""

    def __post_init__(self) -> None:
        require(self.num_pairs >= 2, "num_pairs must be at least 2")

    def run(self, ctx: Context) -> None:
        labels = chosen(read_preferences(ctx.input(self.labels)), self.num_pairs, ctx.seed)
        chat = open_chat(ctx, self.by)
        judge = judge_of(self.judge, chat)
        on_answer = asking(ctx, len(labels) * num_questions(self.judge))
        judged, shown = judged_pairs(judge, labels, ctx.seed, on_answer)
        figures = judge_figures(judged)
        save_calibration(ctx.output("calibration"), judge, judged, figures)
        unread = sum(pair.winner is None for pair in judged)
        split = sum(p.winner is not None and p.a_first != p.b_first for p in judged)
        ctx.count("pairs without a readable verdict", unread, len(judged))
        ctx.count("pairs whose verdict hangs on the order: ties", split, len(judged))
        tally_usage(ctx, chat, self.by)
        for name, value in table_of(figures):
            ctx.note(f"{name}: {value}", key=name)
        ctx.write_samples(
            {
                "prompt": s.prompt.last_user,
                "a": s.a,
                "b": s.b,
                "label": p.label,
                "a_first": p.a_first,
                "b_first": p.b_first,
            }
            for s, p in list(zip(shown, judged, strict=True))[:12]
        )


def num_questions(judge: AnyJudge) -> int:
    """Asked for one pair."""
    return 2 * judge.num_samples if isinstance(judge, Pointwise) else 2


def chosen(labels: Sequence[Label], num: int, seed: int) -> list[Label]:
    """`num` of the labels at random, or all of fewer; equal completions are left out.

    Raises:
        DataError: fewer than two are left.
    """
    distinct = [item for item in labels if _sides(item)[0].strip() != _sides(item)[1].strip()]
    if len(distinct) < 2:
        raise DataError(
            f"{len(distinct)} labelled pairs of different completions; give two or more"
        )
    order = rng.stream(seed, "labels").permutation(len(distinct))
    return [distinct[i] for i in sorted(order[:num])]


def judged_pairs(
    judge: Judge, labels: Sequence[Label], seed: int, on_answer: OnAnswer | None
) -> tuple[list[JudgedPair], list[Shown]]:
    """What the judge says of each, and what it was shown."""
    shown, truth = [], []
    for i, item in enumerate(labels):
        key = rng.key(seed, "label", i, item.prompt.id)
        (x, y), winner = _sides(item), _winner(item)
        if rng.stream(key, "shown").random() < 0.5:
            x, y = y, x
            winner = "b" if winner == "a" else "a" if winner == "b" else "tie"
        shown.append(Shown(prompt=item.prompt, a=x, b=y, key=key))
        truth.append(winner)
    said = judge.compare_all(shown, on_answer=on_answer)
    judged = [
        JudgedPair(
            prompt=prompt_key(s.prompt),
            label=winner,
            a_first=j.a_first,
            b_first=j.b_first,
            chars_a=len(s.a),
            chars_b=len(s.b),
        )
        for s, winner, j in zip(shown, truth, said, strict=True)
    ]
    return judged, shown


def save_calibration(
    path: Path, judge: Judge, judged: Sequence[JudgedPair], figures: JudgeFigures
) -> None:
    """Write who was calibrated, the figures, and the verdicts they can be computed from again."""
    identity = judge.identity
    write_json(
        path,
        {
            "judge": identity.to_json() | {"id": identity.id},
            "figures": _finite(dataclasses.asdict(figures)),
            "pairs": [dataclasses.asdict(pair) for pair in judged],
        },
    )


def table_of(figures: JudgeFigures) -> list[tuple[str, str]]:
    """Each figure's name and value, for people."""
    return [
        ("labelled pairs", f"{figures.num_pairs} of {figures.num_prompts} prompts"),
        ("agreement with labels", _words(figures.agreement)),
        ("Cohen's kappa", "not known" if math.isnan(figures.kappa) else f"{figures.kappa:.3f}"),
        ("same verdict in both orders", _words(figures.swap_consistency)),
        ("log-odds of the first shown", _words(figures.first_shown)),
        ("log-odds per log length ratio", _words(figures.length_slope)),
        ("the labels' own", _words(figures.label_length_slope)),
        ("added by the judge", _words(figures.added_length_slope)),
        ("without a readable verdict", _words(figures.unread)),
    ]


def _words(value: Interval) -> str:
    if math.isnan(value.estimate):
        return "not known"
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _sides(item: Label) -> tuple[str, str]:
    if isinstance(item, Comparison):
        return item.a, item.b
    return item.chosen, item.rejected


def _winner(item: Label) -> Winner:
    return item.winner if isinstance(item, Comparison) else "a"


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has neither."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
