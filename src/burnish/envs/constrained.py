"""Everyday prompts with checkable constraints: RLVR's third family beside maths and code.

After Tulu 3 (Lambert et al. 2024, arXiv 2411.15124, section 6.1), which joins prompts of its SFT
mixture with IFEval's instructions; here constraints are drawn so that they go together and say what
a small model can do. No base prompt is both trained on and held out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from burnish import rng
from burnish.config import require, suggest
from burnish.data.splits import prompt_key
from burnish.envs.constraint_draws import Dice, Difficulty
from burnish.envs.constraints import FAMILIES, SMALL_KINDS
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, Json, Problem
from burnish.verifiers.instruction_following import instruction_problem

_JOINTS = (" {}", "\n{}", "\n\n{}")
_TRIES = 40
"""Draws for one problem before it is given up: constraints may clash, or repeat a problem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """Which constraints are drawn, how many, and how hard."""

    kinds: tuple[str, ...] = SMALL_KINDS
    """Of IFEval's 25."""
    fewest: int = 1
    most: int = 2
    """Constraints of one prompt, each number from `fewest` on equally likely."""
    difficulty: Difficulty = "easy"
    """Raises the numbers asked for: words, bullets, repetitions."""
    score: Literal["mean", "all"] = "mean"
    """Rewarded: the share of constraints met (`mean`), or 1 where `all` are, as in Tulu 3."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            require(kind in FAMILIES, f"kinds: no `{kind}`; {suggest(kind, FAMILIES)}")
        require(1 <= self.fewest <= self.most, "fewest must be from 1 to most")
        require(
            self.most <= len(self.kinds), f"most={self.most}: there are {len(self.kinds)} kinds"
        )


def constrained_problems(
    bases: Sequence[Conversation],
    constraints: Constraints,
    *,
    num_train: int,
    num_heldout: int,
    seed: int,
) -> tuple[list[Problem], list[Problem]]:
    """(train, heldout); each base prompt is on one side only, and is used again when need be.

    A problem depends on its base prompt, the seed and which use of the base it is; never on how
    many others are made.

    Raises:
        DataError: there are fewer than two different base prompts, or one does not end in a user's
            turn.
        ConfigError: so many different problems cannot be drawn.
    """
    unique = {prompt_key(base): base for base in bases if base.last_user.strip()}
    if len(unique) < 2:
        raise DataError(f"{len(unique)} different base prompts: one for each side is needed")
    order = sorted(unique, key=lambda k: rng.key(seed, "constrained", "order", k))
    share = num_heldout / (num_train + num_heldout)
    cut = num_heldout
    if num_train + num_heldout > len(order):
        cut = min(max(round(share * len(order)), 1), len(order) - 1)
    heldout = _made([unique[k] for k in order[:cut]], constraints, num_heldout, seed)
    return _made([unique[k] for k in order[cut:]], constraints, num_train, seed), heldout


def _made(
    bases: Sequence[Conversation], constraints: Constraints, num: int, seed: int
) -> list[Problem]:
    found: dict[str, Problem] = {}
    for use in range(num // len(bases) + _TRIES):
        for base in bases:
            if len(found) == num:
                return list(found.values())
            for problem in _draws(base, constraints, seed, use):
                if problem.id not in found:
                    found[problem.id] = problem
                    break
    if len(found) == num:
        return list(found.values())
    raise ConfigError(
        f"{len(found)} different problems were drawn from {len(bases)} base prompts, {num} asked "
        "for; give more prompts, kinds or constraints"
    )


def _draws(base: Conversation, constraints: Constraints, seed: int, use: int) -> Iterator[Problem]:
    """Problems of one base prompt; none where the kinds that fit it are too few."""
    key = prompt_key(base)
    for turn in range(_TRIES):
        random = rng.stream(seed, "constrained", key, use, turn)
        dice = Dice(random, base.last_user.strip(), constraints.difficulty)
        wanted = int(random.integers(constraints.fewest, constraints.most + 1))
        order = [constraints.kinds[i] for i in random.permutation(len(constraints.kinds))]
        kinds = _together(order, dice.prompt, wanted)
        if len(kinds) < wanted:
            continue
        instructions: list[dict[str, Json]] = []
        said: list[str] = []
        for kind in kinds:
            drawn = FAMILIES[kind].draw(dice)
            said.append(FAMILIES[kind].say(drawn, dice))
            instructions.append({"kind": kind, **drawn})
        prompt = asking(base, dice.one(_JOINTS).format("\n".join(said)))
        yield instruction_problem(prompt, instructions, score=constraints.score)


def _together(order: Sequence[str], prompt: str, wanted: int) -> list[str]:
    """The first so many kinds of an order that fit the prompt and lay claim to nothing twice."""
    chosen: list[str] = []
    taken: frozenset[str] = frozenset()
    for kind in order:
        family = FAMILIES[kind]
        if len(chosen) < wanted and family.fits(prompt) and not taken & family.uses:
            chosen.append(kind)
            taken |= family.uses
    return chosen


def asking(conversation: Conversation, text: str) -> Conversation:
    """The conversation with `text` after its last turn, which must be the user's.

    Raises:
        DataError: it is not.
    """
    *before, last = conversation.messages
    if last.role != "user":
        raise DataError(f"a base prompt ends in a turn of the {last.role}, not of the user")
    return replace(
        conversation, messages=(*before, replace(last, content=last.content.rstrip() + text))
    )
