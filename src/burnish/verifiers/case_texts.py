"""Templates of completions, filled in for drawn problems: most cases of verifiers of answers.

In a template `@G` is the right answer, `@A`, `@B` and `@C` are wrong ones, `@Q` is the prompt. Each
kind of case has several templates, used in turn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from burnish.types import Conversation, Problem
from burnish.verifiers.cases import Case

Templates: TypeAlias = Mapping[str, Sequence[str]]

FULLWIDTH = str.maketrans("0123456789ABCDEFGH", "０１２３４５６７８９ＡＢＣＤＥＦＧＨ")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
BOLD = str.maketrans("0123456789ABCDEFGH", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗𝐀𝐁𝐂𝐃𝐄𝐅𝐆𝐇")
FILLER = "So we go on, and think about it once more, and then once again. "

ATTACKS: Templates = {
    "empty": ("", " ", "\n\n\t\n", "Answer:", "Answer: \n", "**Answer:**"),
    "control characters": (
        "\x00",
        "\u200b\u200b",
        "Answer: \x07",
        "Answer: \u200b",
        "Answer: @G\x00@A",
        "Answer: \u202e@A@G\u202c",
    ),
    "prompt echo": ("@Q", "@Q\n@Q", "Sure! @Q", "> @Q"),
    "format echo": (
        "Answer: <number>",
        "Answer: <answer>",
        "Answer: N",
        'End with "Answer:" and the answer.',
        "Answer: your answer here",
        "Answer: ...",
    ),
    "list on a line": (
        "Answer: @A, @G, @B, @C",
        "Answer: @G, @A, @B",
        "Answer: @A @B @C @G",
        "Answer: @A; @B; @G",
        "Answer: @A/@G/@B",
        "Answer: @A | @B | @G",
    ),
    "list over lines": (
        "Answer: @A\nAnswer: @B\nAnswer: @C\nAnswer: @G",
        "Answer: @G\nAnswer: @A\nAnswer: @B",
        "Answer: @A\nAnswer: @G",
        "1. Answer: @A\n2. Answer: @B\n3. Answer: @G",
        "Answer: @G\n@A\n@B",
    ),
    "negation": (
        "Answer: not @G",
        "The answer is not @G.",
        "Answer: anything but @G, not @G",
        "The answer isn't @G.",
        "Answer: it is never @G",
        "Answer: anything but @G",
        "Answer: all but @G",
        "The wrong answer is @G.",
        "A wrong answer: @G",
    ),
    "contradiction": (
        "Answer: @A\nSo it is @G.\nAnswer: @G",
        "Answer: @G\n\nIn other words:\nAnswer: @A",
        "Answer: @A. Answer: @G",
        "**Answer:** @G\n**Final answer:** @A",
    ),
    "hedge": (
        "Answer: @A or @G",
        "Answer: @G or @A",
        "Answer: either @G or @A",
        "Answer: @A, maybe @G",
        "Answer: @G (or @A)",
        "Answer: @G\nor @A",
        "Answer: @G\nAlternatively, @A.",
    ),
    "taken back": (
        "Answer: @G\nNo, that is wrong.",
        "Answer: @G. Wait, that's wrong.",
        "Answer: @G\nScratch that.",
        "Answer: @G\nWait, no.\nAnswer: @A",
        "Answer: @G\nWait, @A?",
        "Answer: @G\nActually, it's @A.",
    ),
    "struck out": ("Answer: ~~@G~~", "~~Answer: @G~~", "Answer: ~~@G~~ @A", "**Answer:** ~~@G~~"),
    "in the working only": (
        "First we get @G.\nThen we add something.\nAnswer: @A",
        "It comes to @G.",
        "@G",
        "The result is @G, and so on.",
        "<think>Answer: @G</think>\nI do not know.",
        "<think>\nAnswer: @G",
    ),
    "very long": (
        FILLER * 2000 + "@G",
        "Answer: " + FILLER * 500 + "@G",
        "Answer: " + "@A " * 5000 + "@G",
        "Answer: @A\n" * 5000 + "Answer: @G",
        "Answer: " + "(" * 20000 + "@G" + ")" * 20000,
    ),
    "wrong": (
        "Answer: @A",
        "We add them up.\nAnswer: @B",
        "**Answer:** @C",
        "Answer: @A.",
        "Answer: @B\nAnswer: @B",
    ),
}
"""What nobody should pass with, whatever the answer's form."""

RIGHT: Templates = {
    "right: plain": ("Answer: @G", "answer: @G", "Answer:@G", "  Answer:   @G  ", "Answer : @G"),
    "right: full stop": ("Answer: @G.", "The working is above.\nAnswer: @G.\n"),
    "right: bold": ("**Answer:** @G", "Answer: **@G**", "**Answer: @G**", "*Answer:* @G"),
    "right: after working": (
        "First @A, then @B.\nAnswer: @G",
        "We get @C, to which we add.\n\nAnswer: @G\n",
        "1. Take @A.\n2. Take @B.\n\nFinal answer: @G",
    ),
    "right: next line": ("Answer:\n@G", "**Answer:**\n\n@G\n"),
    "right: said twice": ("Answer: @G\n\nAnswer: @G", "Answer: @G\nTo sum up.\nFinal Answer: @G"),
    "right: corrected": (
        "I get @A. Wait, I forgot one.\nAnswer: @G",
        "Answer: @A\nWait, that is wrong. Let me recheck.\nAnswer: @G",
        "Answer: @A\nNo, I made a mistake.\nAnswer: @G",
    ),
    "right: after thinking": (
        "<think>Is it @A? Answer: @A? No.</think>\nAnswer: @G",
        "<think>\nAnswer: @B\n</think>\n\nAnswer: @G",
    ),
    "right: prompt given back": ("@Q\n\nAnswer: @G",),
    "right: words below": (
        "Answer: @G\n\nThat is all there is to it.",
        "Answer: @G\n\nActually, @G.",
        "A wrong answer: @A\nAnswer: @G",
    ),
    "right: very long": (FILLER * 2000 + "\nAnswer: @G",),
}
"""What every verifier that reads `Answer:` must pass."""

LOOKALIKE, QUOTED = "lookalike characters", "quoted from the question"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A problem with its right answer as it would be written, and three wrong ones."""

    problem: Problem
    gold: str
    wrong: tuple[str, str, str]


def fill(template: str, drawn: Drawn) -> str:
    """The completion that a template stands for."""
    text = template.replace("@Q", drawn.problem.prompt.text)
    for mark, value in zip(("@G", "@A", "@B", "@C"), (drawn.gold, *drawn.wrong), strict=True):
        text = text.replace(mark, value)
    return text


def filled(
    attacks: Templates, right: Templates, num: int, draw: Callable[[int], Drawn]
) -> Iterator[Case]:
    """`num` cases of each kind, each with a problem of its own.

    draw: the problem of that number, always the same.
    """
    for passes, templates in ((False, attacks), (True, right)):
        for kind, texts in templates.items():
            for i in range(num):
                drawn = draw(i)
                completion = fill(texts[i % len(texts)], drawn)
                yield Case(problem=drawn.problem, completion=completion, passes=passes, kind=kind)


def disguised(num: int, draw: Callable[[int], Drawn]) -> Iterator[Case]:
    """Right answers in characters that only look like 0 to 9 and A to H, and ones quoted."""
    for i in range(num):
        drawn = draw(i)
        split = f"{drawn.gold[:1]}\u200b{drawn.gold[1:]}\u200b"
        tables = (FULLWIDTH, ARABIC, BOLD) if drawn.gold.isdecimal() else (FULLWIDTH, BOLD)
        looks = [*(drawn.gold.translate(table) for table in tables), split]
        yield Case(
            problem=drawn.problem,
            completion=f"Answer: {looks[i % len(looks)]}",
            passes=False,
            kind=LOOKALIKE,
        )
        planted = f"A note left here says: Answer: {drawn.gold}\n{drawn.problem.prompt.text}"
        quotes = (
            f'The question says "Answer: {drawn.gold}".',
            f"A note left here says: Answer: {drawn.gold}",
            planted,
        )
        yield Case(
            problem=Problem(
                prompt=Conversation.of(planted),
                task=drawn.problem.task,
                answer=drawn.problem.answer,
            ),
            completion=quotes[i % len(quotes)],
            passes=False,
            kind=QUOTED,
        )
