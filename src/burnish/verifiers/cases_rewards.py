"""Cases for the simple rewards: what must pass them, and the ways in which models get round them.

Completions are made of plain sentences, so that only what a case is about decides.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.cases import Case, Cases
from burnish.verifiers.format import Format
from burnish.verifiers.language import Language
from burnish.verifiers.length import Length
from burnish.verifiers.repetition import Repetition
from burnish.verifiers.verify import Verifier

SENTENCES: Mapping[str, tuple[str, ...]] = {
    "en": (
        "The train leaves early in the morning and arrives before noon.",
        "A good knife is sharper than it looks when you buy it.",
        "She planted three apple trees behind the old stone house.",
        "Most birds fly south before the first snow covers the fields.",
        "He repaired the broken clock with a small piece of wire.",
        "Fresh bread smells best when the crust is still warm.",
        "The children built a bridge of planks across the little stream.",
        "Our neighbour keeps bees and sells their honey every summer.",
        "You should water these flowers only when the soil is dry.",
        "The museum shows paintings that nobody had seen for a century.",
    ),
    "de": (
        "Der Zug fährt früh am Morgen ab und kommt vor Mittag an.",
        "Ein gutes Messer ist schärfer, als es beim Kauf aussieht.",
        "Sie pflanzte drei Apfelbäume hinter dem alten Haus aus Stein.",
        "Die meisten Vögel ziehen nach Süden, bevor der Schnee kommt.",
        "Er reparierte die kaputte Uhr mit einem kleinen Stück Draht.",
    ),
    "ru": (
        "Поезд отправляется рано утром и прибывает до полудня.",
        "Хороший нож острее, чем кажется при покупке.",
        "Она посадила три яблони за старым каменным домом.",
        "Большинство птиц улетает на юг до первого снега.",
        "Он починил сломанные часы маленьким куском проволоки.",
    ),
    "zh": (
        "火车清晨出发，中午之前到达。",
        "好刀比买的时候看起来更锋利。",
        "她在老石屋后面种了三棵苹果树。",
        "大多数鸟在第一场雪之前飞往南方。",
        "他用一小段铁丝修好了坏掉的钟。",
    ),
}
"""Written for this project; the same thoughts in several languages."""

THINKING = Format(tags=("think", "answer"))
BAND = Length(low=20, high=60, slack=10)
UNSEEN = "\u200b\u2060\u3164"
"""Characters that show nothing, and are no blanks to Python."""
PROMPT = "Tell me something about everyday life in the country, please."

Draw = np.random.Generator
Make = Callable[[Draw], str]


def format_cases(num: int, seed: int) -> list[Case]:
    """For THINKING: thoughts and an answer between their tags."""
    whole = "<think>{0}</think>\n<answer>{1}</answer>"

    def form(text: str) -> Make:
        return lambda draw: text.format(_text(draw, 2), int(draw.integers(1000)))

    right = {
        "plain": form(whole),
        "blanks around": form("\n <think>\n{0}\n</think>\n\n<answer>\n{1}\n</answer>  \n"),
        "other tags inside": form("<think><b>{0}</b></think><answer>{1}</answer>"),
    }
    wrong = {
        "no tags": form("{0} {1}"),
        "no thoughts": form("<think></think><answer>{1}</answer>"),
        "answer outside": form("<think>{0}</think> {1}"),
        "unclosed": form("<think>{0}</think><answer>{1}"),
        "two answers": form(whole + "<answer>{1}</answer>"),
        "twice over": form(f"{whole}{whole}"),
        "nested": form("<think>{0}<answer>{1}</answer></think>"),
        "wrong order": form("<answer>{1}</answer><think>{0}</think>"),
        "text before": form("Sure! " + whole),
        "text after": form(whole + " {0}"),
        "format described": form("I use <think> and </think>, then <answer>{1}</answer>. {0}"),
        "unseen thoughts": form(f"<think>{UNSEEN}</think><answer>{{1}}</answer>"),
        "unseen answer": form(f"<think>{{0}}</think><answer>{UNSEEN}</answer>"),
        "capital tags": form("<THINK>{0}</THINK><ANSWER>{1}</ANSWER>"),
    }
    return _cases("format", right, wrong, num, seed)


def length_cases(num: int, seed: int) -> list[Case]:
    """For BAND: 20 to 60 words, none from 10 and to 70."""

    def words(least: int, most: int) -> Make:
        def make(draw: Draw) -> str:
            return " ".join(_text(draw, 12).split()[: int(draw.integers(least, most + 1))])

        return make

    def of(part: str, least: int, most: int) -> Make:
        return lambda draw: f"{_text(draw, 1)[:3]}{part * int(draw.integers(least, most))}"

    right = {
        "within": words(20, 60),
        "a little short": words(15, 19),
        "a little long": words(61, 65),
    }
    wrong = {
        "too short": words(1, 14),
        "too long": words(66, 90),
        "empty": lambda draw: " " * int(draw.integers(100)),
        "one long word": of("word", 20, 60),
        "blank lines": of("\n", 20, 60),
        "unseen words": lambda draw: f"{UNSEEN} " * int(draw.integers(20, 60)),
    }
    return _cases("length", right, wrong, num, seed)


def repetition_cases(num: int, seed: int) -> list[Case]:
    """For the default `Repetition()`."""

    def loop(sentences: int, times: int) -> Make:
        return lambda draw: " ".join([_text(draw, sentences)] * int(draw.integers(times, 20)))

    def spelt(draw: Draw) -> str:
        return "".join(_text(draw, 1).split()[:2]) * int(draw.integers(30, 90))

    def varied(draw: Draw) -> str:
        marks = ("!", " !!", "?", " ...", "\n")
        text = _text(draw, 1)
        return "".join(
            text.swapcase() + marks[int(draw.integers(5))] if draw.integers(2) else text + " "
            for _ in range(10)
        )

    def hidden(draw: Draw) -> str:
        text, times = _text(draw, 1), int(draw.integers(4, 20))
        at = [int(draw.integers(1, len(text))) for _ in range(times)]
        return " ".join(f"{text[:i]}{UNSEEN[i % 3] * (i % 5)}{text[i:]}" for i in at)

    right = {
        "prose": lambda draw: _text(draw, 6),
        "short": lambda draw: " ".join(_text(draw, 1).split()[:3]),
        "a list": lambda draw: "\n".join(f"- {s}" for s in _drawn(draw, "en", 6)),
    }
    wrong = {
        "a sentence over and over": loop(1, 4),
        "a paragraph over and over": loop(4, 4),
        "a word over and over": lambda draw: (_text(draw, 1).split()[1] + " ") * 40,
        "without blanks": spelt,
        "case and marks changed": varied,
        "unseen differences": hidden,
        "marks": lambda draw: "!?.-"[int(draw.integers(4))] * int(draw.integers(30, 200)),
        "a sentence of Chinese over and over": lambda draw: _text(draw, 1, "zh") * 10,
    }
    return _cases("repetition", right, wrong, num, seed)


def language_cases(num: int, seed: int) -> list[Case]:
    """For `Language(target="en")`."""

    def mixed(more: int, less: int, other: str) -> Make:
        def make(draw: Draw) -> str:
            both = [*_drawn(draw, "en", more), *_drawn(draw, other, less)]
            return " ".join(both[i] for i in draw.permutation(len(both)))

        return make

    def within(draw: Draw) -> str:
        """English words in Chinese sentences."""
        word = _text(draw, 1).split()[1]
        return " ".join(f"{sentence[:-1]} {word}。" for sentence in _drawn(draw, "zh", 4))

    right = {
        "English": lambda draw: _text(draw, 5),
        "a number": lambda draw: f"Answer: {int(draw.integers(1000))}",
        "no letters": lambda draw: f"{int(draw.integers(1000))} + 1",
        "one foreign sentence": mixed(5, 1, "de"),
        "one Chinese sentence": mixed(5, 1, "zh"),
    }
    wrong = {
        "German": lambda draw: _text(draw, 4, "de"),
        "Russian": lambda draw: _text(draw, 4, "ru"),
        "Chinese": lambda draw: _text(draw, 4, "zh"),
        "mostly German": mixed(1, 4, "de"),
        "mostly Russian": mixed(1, 4, "ru"),
        "English words in Chinese": within,
        "unseen": lambda draw: UNSEEN * int(draw.integers(1, 100)),
        "empty": lambda draw: " " * int(draw.integers(100)),
    }
    return _cases("language", right, wrong, num, seed)


REWARD_CASES: Mapping[str, tuple[Verifier, Cases]] = {
    "format": (THINKING, format_cases),
    "length": (BAND, length_cases),
    "repetition": (Repetition(), repetition_cases),
    "language": (Language(target="en"), language_cases),
}
"""Each with the settings that its cases are for."""


def _drawn(draw: Draw, language: str, num: int) -> Iterator[str]:
    """Different sentences, as far as there are any."""
    known = SENTENCES[language]
    order = [int(i) for _ in range(-(-num // len(known))) for i in draw.permutation(len(known))]
    return (known[i] for i in order[:num])


def _text(draw: Draw, num: int, language: str = "en") -> str:
    return ("" if language == "zh" else " ").join(_drawn(draw, language, num))


def _cases(
    name: str, right: Mapping[str, Make], wrong: Mapping[str, Make], num: int, seed: int
) -> list[Case]:
    problem = Problem(prompt=Conversation.of(PROMPT), task=name)
    return [
        Case(
            problem=problem,
            completion=make(rng.stream(seed, "cases", name, kind, i)),
            passes=passes,
            kind=kind,
        )
        for passes, kinds in ((True, right), (False, wrong))
        for kind, make in kinds.items()
        for i in range(num)
    ]
