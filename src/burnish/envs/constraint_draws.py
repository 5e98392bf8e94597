"""How the arguments of constraints are drawn: words, numbers by difficulty, phrases.

The lists of words have none in common, so that what one constraint wants another does not forbid.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from burnish.types import Json

Difficulty = Literal["easy", "medium", "hard"]
Drawn: TypeAlias = dict[str, Json]
_LEVELS: tuple[Difficulty, ...] = get_args(Difficulty)

WANTED = tuple(
    """
    river garden window winter music bread paper bridge letter forest morning silver kitchen market
    summer cloud shadow stone island teacher doctor colour number engine candle mirror wheel butter
    pocket valley village farmer basket planet ocean castle camera bottle blanket ladder hammer
    thunder feather harbour meadow pepper orange ribbon tunnel violin
    """.split()  # noqa: SIM905
)
"""Words to be used: common, concrete, and in none of the other lists."""
UNWANTED = tuple(
    """
    very good just really always never important often because people many make great easy best
    also sure simple well sometimes
    """.split()  # noqa: SIM905
)
"""Words to be avoided: such as come up in answers to anything."""
FIRST_WORDS = ("first", "start", "here", "later", "then", "finally", "remember", "overall")
ENDINGS = (
    "That is all for now.",
    "I hope this helps.",
    "Let me know how it goes.",
    "Take care out there.",
    "What do you think?",
    "Thank you for reading.",
)
LANGUAGES: Mapping[str, str] = {
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
}


class Dice:
    """Draws for one prompt, at one difficulty."""

    def __init__(self, random: np.random.Generator, prompt: str, difficulty: Difficulty) -> None:
        self._random, self.prompt, self._level = random, prompt, _LEVELS.index(difficulty)

    def one(self, options: Sequence[str]) -> str:
        """One of several."""
        return options[int(self._random.integers(len(options)))]

    def some(self, options: Sequence[str], number: int) -> list[str]:
        """Different ones, none of them a word of the prompt."""
        words = {w.strip(".,?!:;'\"") for w in self.prompt.casefold().split()}
        left = [option for option in options if option not in words]
        return [left[i] for i in self._random.permutation(len(left))[:number]]

    def number(self, *ranges: tuple[int, int]) -> int:
        """A number of the difficulty's range, ends included: easy, medium, hard."""
        low, high = ranges[self._level]
        return int(self._random.integers(low, high + 1))


def compared(
    number: str, relation: str, at_least: Sequence[tuple[int, int]], less: Sequence[tuple[int, int]]
) -> Callable[[Dice], Drawn]:
    """Draws of a number and whether it is the least or the limit, each from its own ranges."""

    def draw(dice: Dice) -> Drawn:
        way = dice.one(("at least", "less than"))
        return {number: dice.number(*(at_least if way == "at least" else less)), relation: way}

    return draw


def frequency(dice: Dice) -> Drawn:
    """A word, at least so many times."""
    return {
        "keyword": dice.some(WANTED, 1)[0],
        "frequency": dice.number((2, 2), (2, 3), (3, 5)),
        "relation": "at least",
    }


def letter(dice: Dice) -> Drawn:
    """A common letter at least so many times, or a rare one less often than so."""
    if dice.one(("common", "rare")) == "rare":
        which, number, way = dice.one("jqxz"), dice.number((3, 4), (2, 3), (2, 2)), "less than"
    else:
        number = dice.number((5, 12), (12, 25), (25, 45))
        which, way = dice.one("etaonisr"), "at least"
    return {"letter": which, "let_frequency": number, "let_relation": way}


def nth_paragraph(dice: Dice) -> Drawn:
    """A number of paragraphs, one of them, and its first word."""
    number = dice.number((2, 2), (2, 3), (3, 4))
    nth = dice.number((1, number), (1, number), (1, number))
    return {"num_paragraphs": number, "nth_paragraph": nth, "first_word": dice.one(FIRST_WORDS)}


def sections(dice: Dice) -> Drawn:
    """A number of sections, and what heads them."""
    mark = dice.one(("Section", "PART", "Step"))
    return {"section_spliter": mark, "num_sections": dice.number((2, 2), (2, 3), (4, 5))}
