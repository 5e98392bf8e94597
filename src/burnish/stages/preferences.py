"""Preferences as training rows: all pairs of one prompt over its distinct answers, computed once.

InstructGPT (2203.02155, section 3.4) puts all comparisons of a prompt into one batch element: an
answer that stands in several pairs is then read once, and cannot be over-fitted by being a new row
in each. Here the prompt is shared too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from burnish.data.splits import prompt_key
from burnish.data.store import read_preferences
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.errors import TrainingError
from burnish.models.policy import Tree, context_length
from burnish.pipeline.artifact import Ref
from burnish.pipeline.forecast import Known, Text, Texts
from burnish.pipeline.stage import Context
from burnish.types import Comparison, PreferencePair

TOKENS_PER_PROMPT = 180
"""A guess for the estimate of a stage's cost: a prompt and four answers."""
USUAL_STEPS = 50
"""The same of its steps."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """The pairs of one prompt, and the tree of its distinct answers."""

    pairs: tuple[PreferencePair, ...]
    tree: Tree
    chosen: tuple[int, ...]
    """For each pair, the branch of the better answer."""
    rejected: tuple[int, ...]

    @property
    def key(self) -> str:
        """What a split goes by."""
        return prompt_key(self.pairs[0])


def preference_texts(known: Known, ref: Ref, passes: Passes) -> Texts:
    """Prompts and their answers; a guess where nothing is known."""
    if ref in known:
        return known[ref]
    usual = Text(
        words=frozenset(), prompt_tokens=60, completion_tokens=(TOKENS_PER_PROMPT - 60) / 4
    )
    return Texts(num_rows=passes.usual_rows(USUAL_STEPS), sample=(usual,), per_row=4)


def read_groups(
    ctx: Context,
    text: TextModel,
    path: Path,
    max_tokens: int,
    *,
    mask_format_tokens: bool = False,
) -> list[Preferences]:
    """Comparisons or pairs, by prompt; ties, equal texts and long pairs are counted and left out.

    A prompt with more answers than fit into `max_tokens` gives several rows. `mask_format_tokens`
    leaves the token that ends a turn unscored.

    Raises:
        TrainingError: none is left.
    """
    found = read_preferences(path)
    pairs = [pair for item in found if (pair := _decided(item)) is not None]
    ctx.count("ties and equal completions left out", len(found) - len(pairs), len(found))
    limit = min(max_tokens, context_length(text.model))
    by_prompt: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair.prompt.id, []).append(pair)
    groups: list[Preferences] = []
    long = 0
    for same in by_prompt.values():
        made, dropped = _groups(text, same, limit)
        groups += made
        long += dropped
    ctx.count(f"pairs over {limit} tokens dropped", long, len(pairs))
    if not groups:
        raise TrainingError(
            f"of {len(found)} preferences none has a winner and at most {limit} tokens "
            f"(max_tokens={max_tokens}): there is nothing to learn"
        )
    if mask_format_tokens:
        return [replace(g, tree=_without_ends(g.tree, text.stop_ids)) for g in groups]
    return groups


def crossed(prompt: Preferences, answers: Preferences) -> Tree:
    """The first chosen answer of one prompt as if it answered another."""
    first = answers.chosen[0]
    return Tree(prompt.tree.stem, (answers.tree.branches[first],), (answers.tree.trained[first],))


def sides(
    groups: Sequence[Preferences],
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Indices of each pair's chosen and rejected answer among the branches of all the groups."""
    chosen: list[int] = []
    rejected: list[int] = []
    start = 0
    for group in groups:
        chosen += [start + i for i in group.chosen]
        rejected += [start + i for i in group.rejected]
        start += len(group.tree.branches)
    return torch.tensor(chosen), torch.tensor(rejected)


def num_pairs(groups: Sequence[Preferences]) -> int:
    """Pairs in all the groups."""
    return sum(len(group.pairs) for group in groups)


def _without_ends(tree: Tree, ends: frozenset[int]) -> Tree:
    trained = tuple(
        tuple(flag and token not in ends for token, flag in zip(branch, flags, strict=True))
        for branch, flags in zip(tree.branches, tree.trained, strict=True)
    )
    return replace(tree, trained=trained)


def _decided(item: Comparison | PreferencePair) -> PreferencePair | None:
    """As a pair; None for a tie or equal texts."""
    if isinstance(item, PreferencePair):
        return item
    if item.winner == "tie" or item.a.strip() == item.b.strip():
        return None
    first = item.shown_order[0]
    return PreferencePair(
        prompt=item.prompt,
        chosen=item.a if item.winner == "a" else item.b,
        rejected=item.b if item.winner == "a" else item.a,
        source=item.annotator,
        margin=item.margin,
        shown_first="chosen" if item.winner == first else "rejected",
    )


def _groups(
    text: TextModel, pairs: Sequence[PreferencePair], max_tokens: int
) -> tuple[list[Preferences], int]:
    """One prompt's pairs in rows of at most `max_tokens`, and how many were too long alone."""
    answers: dict[str, tuple[int, ...]] = {}
    stem: tuple[int, ...] = ()
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            if side not in answers:
                stem, answers[side] = text.answer(pair.prompt, side)
    rows: list[list[PreferencePair]] = []
    held: set[str] = set()
    size = dropped = 0
    for pair in pairs:
        both = {pair.chosen, pair.rejected}
        if len(stem) + sum(len(answers[a]) for a in both) > max_tokens:
            dropped += 1
            continue
        extra = sum(len(answers[a]) for a in both - held)
        if not rows or size + extra > max_tokens:
            rows.append([])
            held, size = set(), len(stem)
            extra = sum(len(answers[a]) for a in both)
        rows[-1].append(pair)
        held |= both
        size += extra
    return [_group(stem, row, answers) for row in rows], dropped


def _group(
    stem: tuple[int, ...], pairs: Sequence[PreferencePair], answers: dict[str, tuple[int, ...]]
) -> Preferences:
    order = list(dict.fromkeys(side for pair in pairs for side in (pair.chosen, pair.rejected)))
    return Preferences(
        tuple(pairs),
        Tree.prompt(stem, [answers[side] for side in order]),
        tuple(order.index(pair.chosen) for pair in pairs),
        tuple(order.index(pair.rejected) for pair in pairs),
    )
