"""What a reward model says of held-out pairs, beside what needs no model at all."""

from collections.abc import Sequence
from typing import Any

from burnish.evals.bag_of_words import BagOfWords
from burnish.evals.formatting import markup_count
from burnish.stages.preferences import Preferences
from burnish.types import PreferencePair, Problem
from burnish.verifiers.verify import verify_problem


def quality_rows(
    train: Sequence[Preferences],
    held: Sequence[Preferences],
    scores: Sequence[Sequence[float]],
    problems: Sequence[Problem],
) -> list[dict[str, Any]]:
    """A row for each held-out pair: scores, baselines, and what a bias could go by.

    `scores` are of each group's answers; `problems` give the gold reward where they are known.
    Gaps are of the chosen answer minus the rejected one.
    """
    bag = BagOfWords([(p.chosen, p.rejected) for group in train for p in group.pairs])
    known = {p.prompt.id: p for p in problems}
    rows: list[dict[str, Any]] = []
    for group, row in zip(held, scores, strict=True):
        for pair, better, worse in zip(group.pairs, group.chosen, group.rejected, strict=True):
            length_gap = len(pair.chosen) - len(pair.rejected)
            problem = known.get(pair.prompt.id)
            rows.append(
                {
                    "prompt": pair.prompt.last_user,
                    "chosen": pair.chosen,
                    "rejected": pair.rejected,
                    "chosen_score": row[better],
                    "rejected_score": row[worse],
                    "shorter": wins(-length_gap),
                    "bag_of_words": wins(bag.score(pair.chosen) - bag.score(pair.rejected)),
                    "length_gap": length_gap,
                    "markup_gap": markup_count(pair.chosen) - markup_count(pair.rejected),
                    "shown_gap": _shown_gap(pair),
                    "margin": pair.margin,
                    "gold_gap": None if problem is None else _gold_gap(problem, pair),
                }
            )
    return rows


def wins(gap: float) -> float:
    """1 where the first is ahead, one half for a tie."""
    return 0.5 if gap == 0 else float(gap > 0)


def _shown_gap(pair: PreferencePair) -> int | None:
    """1 where the chosen answer was shown first, -1 where second; None: not known."""
    return None if pair.shown_first is None else 1 if pair.shown_first == "chosen" else -1


def _gold_gap(problem: Problem, pair: PreferencePair) -> float | None:
    chosen = verify_problem(problem, pair.chosen).score
    rejected = verify_problem(problem, pair.rejected).score
    return None if chosen is None or rejected is None else chosen - rejected
